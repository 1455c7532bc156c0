import { execFileSync } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { freePort } from "@keelson/conformance";
import {
  Authority,
  authorityFiles,
  createCaCertificate,
  exportPrivateKey,
  generateEcKey,
  serverCertificates,
} from "@keelson/pki";
import { parseDbInfo } from "../../src/etcd/db-info.ts";
import { createEmbeddedEtcd, type EmbeddedEtcd } from "../../src/etcd/embedded-etcd.ts";

/** Elections as quick as one machine allows. */
export const fast = { heartbeatIntervalMs: 50, electionTimeoutMs: 500 };

export function hasProgram(name: string): boolean {
  try {
    execFileSync("which", [name], { stdio: "ignore" });
    return true;
  } catch {
    if (process.env.KEELSON_REQUIRE_ALL === "1") throw new Error(`${name} is needed by this test and not installed`);
    console.warn(`skipped: ${name} is not installed`);
    return false;
  }
}

export interface TestServer {
  dataDir: string;
  nodeName: string;
  address: string;
  clientPort: number;
  peerPort: number;
  metricsPort: number;
}

/** The etcd CAs of one cluster, and servers with data directories whose certificates they signed. */
export class TestCluster {
  readonly #root: string;
  readonly #authorities: Map<string, { authority: Authority; keyPem: string }>;

  private constructor(root: string, authorities: Map<string, { authority: Authority; keyPem: string }>) {
    this.#root = root;
    this.#authorities = authorities;
  }

  static async create(): Promise<TestCluster> {
    const authorities = new Map<string, { authority: Authority; keyPem: string }>();
    for (const name of ["etcd-server", "etcd-peer"] as const) {
      const key = await generateEcKey();
      const pem = createCaCertificate(authorityFiles[name].prefix, key, Date.now() - 60_000);
      authorities.set(name, { authority: new Authority(pem, key), keyPem: exportPrivateKey(key) });
    }
    return new TestCluster(await mkdtemp(join(tmpdir(), "keelson-etcd-")), authorities);
  }

  /** A data directory as registration lays it out before etcd starts. */
  async server(nodeName: string): Promise<TestServer> {
    const dataDir = join(this.#root, nodeName);
    const tls = join(dataDir, "server", "tls");
    await mkdir(join(tls, "etcd"), { recursive: true });
    for (const name of ["etcd-server", "etcd-peer"] as const) {
      const { authority } = this.#authorities.get(name)!;
      await writeFile(join(tls, `${authorityFiles[name].file}.crt`), authority.bundlePem);
    }
    for (const leaf of serverCertificates) {
      const ca = this.#authorities.get(leaf.authority);
      if (ca === undefined) continue;
      const key = await generateEcKey();
      const names = leaf.names === undefined ? {} : { names: ["localhost", "127.0.0.1", "::1", nodeName] };
      const { commonName, purposes } = leaf;
      const path = join(tls, leaf.file);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(
        `${path}.crt`,
        ca.authority.issue({ commonName, purposes, ...names }, createPublicKey(key), Date.now()),
      );
      await writeFile(`${path}.key`, exportPrivateKey(key), { mode: 0o600 });
    }
    const ports = { clientPort: await freePort(), peerPort: await freePort(), metricsPort: await freePort() };
    return { dataDir, nodeName, address: "127.0.0.1", ...ports };
  }

  /**
   * Starts members one after the other: the first makes the cluster, the others join it. Each goes into `servers` and `etcds`
   * before it starts, so that a failed start can be cleaned up.
   */
  async startMembers(names: readonly string[], servers: TestServer[], etcds: EmbeddedEtcd[]): Promise<void> {
    for (const name of names) {
      const server = await this.server(name);
      servers.push(server);
      const through = etcds[0];
      const origin =
        through === undefined
          ? { kind: "init" as const }
          : { kind: "join" as const, members: async () => parseDbInfo(await through.dbInfo()) };
      const etcd = createEmbeddedEtcd({ ...server, ...fast, origin });
      etcds.push(etcd);
      await etcd.start();
    }
  }

  async remove(): Promise<void> {
    await rm(this.#root, { recursive: true, force: true });
  }
}
