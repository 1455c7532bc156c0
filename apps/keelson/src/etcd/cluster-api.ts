import type { EtcdMember } from "./membership.ts";

/** What one etcd server says about itself. */
export interface EtcdStatus {
  memberId: bigint;
  /** Member id of the leader it knows; 0 while there is none. */
  leaderId: bigint;
  raftAppliedIndex: number;
  isLearner: boolean;
  /** Size of the database file in bytes. */
  dbSizeBytes: number;
  version: string;
}

/** The calls that manage an etcd cluster, against one or several of its servers (tried in turn). */
export interface EtcdClusterApi {
  memberList(): Promise<EtcdMember[]>;
  /** Adds a learner; resolves to the members including it. */
  memberAddAsLearner(peerUrls: readonly string[]): Promise<EtcdMember[]>;
  memberPromote(id: bigint): Promise<void>;
  memberRemove(id: bigint): Promise<void>;
  memberUpdate(id: bigint, peerUrls: readonly string[]): Promise<void>;
  /** Status of the first server that answers; with one endpoint, of that server. */
  status(): Promise<EtcdStatus>;
  /** Gives free space back to the file system; blocks that server for the time it takes. */
  defragment(): Promise<void>;
  /** Clears every alarm (out of space, corruption) of every member. */
  disarmAlarms(): Promise<void>;
  /** The whole database as etcd's snapshot file: content, then its SHA-256. */
  snapshot(): AsyncIterable<Uint8Array>;
  get(key: string): Promise<string | undefined>;
  put(key: string, value: string): Promise<void>;
  delete(key: string): Promise<void>;
  close(): void;
}

/** Connects to servers by their client URLs, with the cluster's etcd client certificate. */
export type ConnectEtcd = (endpoints: readonly string[]) => EtcdClusterApi;
