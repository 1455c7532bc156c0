import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { type CertificateInfo, planRenewal, readBundle } from "@keelson/pki";
import { errorCode, readFileIfExists } from "@keelson/service";

/** One certificate on disk, as `keelson certificate check` shows it. */
export interface CheckedCertificate {
  /** Path below the data directory. */
  file: string;
  subject: string;
  isCa: boolean;
  usages: readonly string[];
  notAfterMs: number;
  /** `expiring` is within the renewal window: a running server renews it by itself, a CA must be replaced by hand. */
  status: "ok" | "expiring" | "expired" | "unreadable";
}

const folders = ["server/tls", "server/tls/etcd", "agent"];

/** Looks at the first certificate of every `.crt` file of a server and an agent. */
export async function checkCertificates(dataDir: string, nowMs: number): Promise<CheckedCertificate[]> {
  const checked: CheckedCertificate[] = [];
  for (const folder of folders) {
    for (const name of await listFiles(join(dataDir, folder))) {
      if (!name.endsWith(".crt")) continue;
      const path = join(dataDir, folder, name);
      checked.push(check(relative(dataDir, path), (await readFileIfExists(path)) ?? "", nowMs));
    }
  }
  return checked;
}

function check(file: string, pem: string, nowMs: number): CheckedCertificate {
  let certificate: CertificateInfo | undefined;
  try {
    [certificate] = readBundle(pem);
  } catch {
    certificate = undefined; // shown as unreadable, which says what there is to do
  }
  if (certificate === undefined) {
    return { file, subject: "", isCa: false, usages: [], notAfterMs: 0, status: "unreadable" };
  }
  const { commonName, organizations, isCa, extendedKeyUsage, keyUsage, notAfterMs } = certificate;
  const subject = [`CN=${commonName}`, ...organizations.map((name) => `O=${name}`)].join(",");
  const { reason } = planRenewal(certificate, nowMs);
  const status = reason === "expired" ? "expired" : reason === "expiring" ? "expiring" : "ok";
  return { file, subject, isCa, usages: isCa ? keyUsage : extendedKeyUsage, notAfterMs, status };
}

async function listFiles(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
}
