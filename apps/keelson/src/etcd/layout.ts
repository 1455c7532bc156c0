import { join } from "node:path";

/** Where embedded etcd keeps its files below the data directory; K3s's names, so that a directory moves both ways. */
export interface EtcdLayout {
  /** etcd's own data directory; also holds `name` and `config`. */
  data: string;
  /** File with this member's name. */
  name: string;
  /** The configuration file that etcd is started with, written anew at each start. */
  config: string;
  /** Exists once etcd has data: this server is a member already. */
  wal: string;
  /** Written when this member was removed from the cluster; the data is set aside at the next start. */
  tombstone: string;
  /** Written by a cluster reset, so that a flag left in a unit file does not reset again. */
  resetFlag: string;
  pidFile: string;
  snapshots: string;
  /** Parent of the folders that hold set-aside data. */
  db: string;
  certificates: {
    serverCa: string;
    serverCert: string;
    serverKey: string;
    peerCa: string;
    peerCert: string;
    peerKey: string;
    clientCert: string;
    clientKey: string;
  };
}

export function etcdLayout(dataDir: string): EtcdLayout {
  const db = join(dataDir, "server", "db");
  const data = join(db, "etcd");
  const tls = join(dataDir, "server", "tls", "etcd");
  return {
    db,
    data,
    name: join(data, "name"),
    config: join(data, "config"),
    wal: join(data, "member", "wal"),
    tombstone: join(data, "tombstone"),
    resetFlag: join(db, "reset-flag"),
    pidFile: join(db, "etcd.pid"),
    snapshots: join(db, "snapshots"),
    certificates: {
      serverCa: join(tls, "server-ca.crt"),
      serverCert: join(tls, "server-client.crt"),
      serverKey: join(tls, "server-client.key"),
      peerCa: join(tls, "peer-ca.crt"),
      peerCert: join(tls, "peer-server-client.crt"),
      peerKey: join(tls, "peer-server-client.key"),
      clientCert: join(tls, "client.crt"),
      clientKey: join(tls, "client.key"),
    },
  };
}
