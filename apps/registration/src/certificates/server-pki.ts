import { createPublicKey, type KeyObject, randomBytes } from "node:crypto";
import { chmod, mkdir } from "node:fs/promises";
import { fileKubeconfig } from "@keelson/kube-client";
import {
  Authority,
  type AuthorityName,
  authorityFiles,
  createCaCertificate,
  exportPrivateKey,
  generateEcKey,
  generateRsaKey,
  importPrivateKey,
  planRenewal,
  type RenewalPlan,
  readCertificate,
  readPem,
  type ServerCertificate,
  serverCertificates,
  sharedKubeletKeys,
  uniqueNames,
} from "@keelson/pki";
import {
  type Clock,
  errorMessage,
  KeelsonError,
  type Logger,
  readFileIfExists,
  writeFileAtomic,
} from "@keelson/service";
import { type ServerPaths, serverPaths } from "../server-paths.ts";

export interface ServerPkiOptions {
  dataDir: string;
  /** Names of the API server's certificate. */
  apiServerNames: readonly string[];
  /** Names of the etcd certificates. */
  etcdNames: readonly string[];
  /** URL in the components' kubeconfigs. */
  apiServerUrl: string;
  /** Lifetime of new leaves. */
  leafLifetimeMs: number;
}

/** A leaf on disk and what is to be done about it. */
export interface LeafStatus {
  certificate: ServerCertificate;
  commonName: string;
  notBeforeMs: number;
  notAfterMs: number;
  plan: RenewalPlan;
}

/**
 * The certificates and keys below `<dataDir>/server/tls`: read when they are there, made when they are not. A CA that was
 * put there before the first start is used as it is. The private keys of CAs never leave this object.
 */
export class ServerPki {
  readonly paths: ServerPaths;
  readonly #options: ServerPkiOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #authorities = new Map<AuthorityName, Authority>();
  readonly #sharedKeys = new Map<string, KeyObject>();

  constructor(options: ServerPkiOptions, clock: Clock, log: Logger) {
    this.paths = serverPaths(options.dataDir);
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
  }

  /** Loads or creates everything. The RSA key, the slowest, is made off the event loop beside the rest. */
  async load(): Promise<void> {
    await mkdir(this.paths.tls, { recursive: true, mode: 0o700 });
    await mkdir(this.paths.kubeconfigs, { recursive: true, mode: 0o700 });
    await chmod(this.paths.root, 0o700);
    const serviceKey = this.#ensureServiceKey();
    // A failure below must not leave this promise without a listener.
    serviceKey.catch(() => {});
    await Promise.all((Object.keys(authorityFiles) as AuthorityName[]).map((name) => this.#ensureAuthority(name)));
    await Promise.all([
      ...sharedKubeletKeys.map((file) => this.#ensureSharedKey(file)),
      this.#ensureIpsecKey(),
      this.renewLeaves(),
    ]);
    await serviceKey;
  }

  /** Whether the CAs are there, with which everything else begins. */
  get isLoaded(): boolean {
    return this.#authorities.size === Object.keys(authorityFiles).length;
  }

  authority(name: AuthorityName): Authority {
    const authority = this.#authorities.get(name);
    if (authority === undefined) throw new KeelsonError("pki/not-loaded", `CA ${name} is not loaded yet`);
    return authority;
  }

  /** The private key that all agents without a certificate request share. */
  sharedKey(file: (typeof sharedKubeletKeys)[number]): KeyObject {
    return this.#sharedKeys.get(file)!;
  }

  /** A key that only holders of the client CA's key can have, for a purpose. */
  deriveKey(purpose: string): Uint8Array {
    return this.authority("client").deriveKey(`keelson ${purpose}`);
  }

  get leafLifetimeMs(): number {
    return this.#options.leafLifetimeMs;
  }

  /** The file of a leaf and its key as they stand on disk. */
  async readPair(file: string): Promise<{ certPem: string; keyPem: string }> {
    const [certPem, keyPem] = await Promise.all([
      readFileIfExists(this.paths.certificate(file)),
      readFileIfExists(this.paths.key(file)),
    ]);
    if (certPem === undefined || keyPem === undefined) {
      throw new KeelsonError("pki/file-missing", `certificate ${this.paths.certificate(file)} or its key is missing`, {
        hint: "restart the server: it makes a new one",
      });
    }
    return { certPem, keyPem };
  }

  /** Every leaf with its renewal plan; a leaf that is missing or unreadable is due at once. */
  async leafStatus(nowMs: number = this.#clock.now()): Promise<LeafStatus[]> {
    return Promise.all(serverCertificates.map((certificate) => this.#statusOf(certificate, nowMs)));
  }

  /** Reissues the leaves that are due (or all of `force`); answers their files. New keys, written after the certificate's. */
  async renewLeaves(force: (leaf: ServerCertificate) => boolean = () => false): Promise<string[]> {
    const nowMs = this.#clock.now();
    const due = (await this.leafStatus(nowMs)).filter(
      ({ certificate, plan }) => plan.renewAtMs <= nowMs || force(certificate),
    );
    await Promise.all(due.map(({ certificate }) => this.#issueLeaf(certificate)));
    await Promise.all(serverCertificates.map((certificate) => this.#writeKubeconfig(certificate)));
    return due.map(({ certificate }) => certificate.file);
  }

  /** Replaces a CA's files and uses them from now on; the caller has checked them. */
  async replaceAuthority(name: AuthorityName, bundlePem: string, keyPem: string): Promise<void> {
    const authority = new Authority(bundlePem, importPrivateKey(keyPem));
    const { file } = authorityFiles[name];
    await writeFileAtomic(this.paths.key(file), keyPem, 0o600);
    await writeFileAtomic(this.paths.certificate(file), bundlePem, 0o644);
    this.#authorities.set(name, authority);
    await this.#writeIssuerOnly(name, authority);
  }

  async #ensureAuthority(name: AuthorityName): Promise<void> {
    const { prefix, file } = authorityFiles[name];
    const [certFile, keyFile] = [this.paths.certificate(file), this.paths.key(file)];
    let [bundlePem, keyPem] = await Promise.all([readFileIfExists(certFile), readFileIfExists(keyFile)]);
    if ((bundlePem === undefined) !== (keyPem === undefined)) {
      throw new KeelsonError("pki/ca-incomplete", `only one of ${certFile} and ${keyFile} exists`, {
        hint: "restore the missing file, or remove both to make a new CA (which breaks every existing token)",
      });
    }
    if (bundlePem === undefined || keyPem === undefined) {
      const key = await generateEcKey();
      bundlePem = createCaCertificate(prefix, key, this.#clock.now());
      keyPem = exportPrivateKey(key);
      await writeFileAtomic(keyFile, keyPem, 0o600);
      await writeFileAtomic(certFile, bundlePem, 0o644);
    }
    const authority = parseAuthority(bundlePem, keyPem, certFile);
    this.#authorities.set(name, authority);
    await this.#writeIssuerOnly(name, authority);
  }

  /** Controller-manager's CSR signer cannot use a chain, so it gets the issuing certificate alone. */
  async #writeIssuerOnly(name: AuthorityName, authority: Authority): Promise<void> {
    if (name !== "client" && name !== "server") return;
    await this.#writeIfChanged(
      this.paths.certificate(`${authorityFiles[name].file}.nochain`),
      authority.issuerPem,
      0o644,
    );
  }

  async #ensureServiceKey(): Promise<void> {
    let pem = await readFileIfExists(this.paths.serviceKey);
    if (pem === undefined) {
      pem = exportPrivateKey(await generateRsaKey());
      await writeFileAtomic(this.paths.serviceKey, pem, 0o600);
    }
    const [current] = readPem(pem);
    if (current === undefined) {
      throw new KeelsonError("pki/service-key-invalid", `${this.paths.serviceKey} holds no private key`);
    }
    await this.#writeIfChanged(this.paths.serviceKeyCurrent, current.text, 0o600);
  }

  async #ensureSharedKey(file: (typeof sharedKubeletKeys)[number]): Promise<void> {
    const path = this.paths.key(file);
    let pem = await readFileIfExists(path);
    if (pem === undefined) {
      pem = exportPrivateKey(await generateEcKey());
      await writeFileAtomic(path, pem, 0o600);
    }
    this.#sharedKeys.set(file, parseKey(pem, path));
  }

  async #ensureIpsecKey(): Promise<void> {
    if ((await readFileIfExists(this.paths.ipsecKey)) !== undefined) return;
    await writeFileAtomic(this.paths.ipsecKey, `${randomBytes(48).toString("hex")}\n`, 0o600);
  }

  #namesOf(leaf: ServerCertificate): readonly string[] {
    if (leaf.names === undefined) return [];
    return uniqueNames(leaf.names === "etcd" ? this.#options.etcdNames : this.#options.apiServerNames);
  }

  async #statusOf(certificate: ServerCertificate, nowMs: number): Promise<LeafStatus> {
    const [pem, keyPem] = await Promise.all([
      readFileIfExists(this.paths.certificate(certificate.file)),
      readFileIfExists(this.paths.key(certificate.file)),
    ]);
    const absent: LeafStatus = {
      certificate,
      commonName: certificate.commonName,
      notBeforeMs: nowMs,
      notAfterMs: nowMs,
      plan: { renewAtMs: nowMs, reason: "expired" },
    };
    if (pem === undefined || keyPem === undefined) return absent;
    try {
      const leaf = readCertificate(pem);
      const plan = planRenewal(leaf, nowMs, {
        commonName: certificate.commonName,
        organizations: certificate.organizations ?? [],
        names: this.#namesOf(certificate),
        issuer: this.authority(certificate.authority).certificate,
      });
      const { commonName, notBeforeMs, notAfterMs } = leaf;
      return { certificate, commonName, notBeforeMs, notAfterMs, plan };
    } catch (error) {
      this.#log.warn(
        { file: certificate.file, reason: errorMessage(error) },
        "certificate is unreadable, making a new one",
      );
      return absent;
    }
  }

  async #issueLeaf(leaf: ServerCertificate): Promise<void> {
    const key = await generateEcKey();
    const pem = this.authority(leaf.authority).issue(
      {
        commonName: leaf.commonName,
        organizations: leaf.organizations ?? [],
        purposes: leaf.purposes,
        names: this.#namesOf(leaf),
      },
      createPublicKey(key),
      this.#clock.now(),
      this.leafLifetimeMs,
    );
    await writeFileAtomic(this.paths.key(leaf.file), exportPrivateKey(key), 0o600);
    await writeFileAtomic(this.paths.certificate(leaf.file), pem, 0o644);
  }

  async #writeKubeconfig(leaf: ServerCertificate): Promise<void> {
    if (leaf.kubeconfig === undefined) return;
    const content = fileKubeconfig({
      server: this.#options.apiServerUrl,
      caFile: this.paths.certificate("server-ca"),
      certFile: this.paths.certificate(leaf.file),
      keyFile: this.paths.key(leaf.file),
    });
    await this.#writeIfChanged(this.paths.kubeconfig(leaf.kubeconfig), content, 0o644);
  }

  async #writeIfChanged(path: string, content: string, mode: number): Promise<void> {
    if ((await readFileIfExists(path)) !== content) await writeFileAtomic(path, content, mode);
  }
}

function parseAuthority(bundlePem: string, keyPem: string, certFile: string): Authority {
  try {
    return new Authority(bundlePem, importPrivateKey(keyPem));
  } catch (cause) {
    throw new KeelsonError("pki/ca-unusable", `the CA in ${certFile} cannot be used`, {
      hint: "check that the file holds the issuing CA first, and that the .key beside it is its key",
      cause,
    });
  }
}

function parseKey(pem: string, path: string): KeyObject {
  try {
    return importPrivateKey(pem);
  } catch (cause) {
    throw new KeelsonError("pki/key-unreadable", `${path} is not a private key`, {
      hint: "remove the file: a new key is made at the next start",
      cause,
    });
  }
}
