import { readFileSync } from "node:fs";

/** A certificate as `layout.txt` describes it: OpenSSL's words, from a stock server. */
export interface RecordedCertificate {
  subject: Record<string, string>;
  issuerPrefix: string;
  lifetimeDays: number;
  keyUsage: string[];
  extendedKeyUsage: string[];
  isCa: boolean;
  names: string[];
  key: string;
}

const purposes: Record<string, string> = {
  "TLS Web Client Authentication": "client",
  "TLS Web Server Authentication": "server",
};

/** The certificates of the stock server by file (`client-admin`, `etcd/client`), each leaf first. */
export function readLayout(): Map<string, RecordedCertificate[]> {
  const text = readFileSync(new URL("../../../conformance/vectors/layout.txt", import.meta.url), "utf8");
  const certificates = text.slice(text.indexOf("== certificates"));
  const files = new Map<string, RecordedCertificate[]>();
  for (const section of certificates.split(/^--- /m).slice(1)) {
    const file = /^<server-data-dir>\/server\/tls\/(.+)\.crt:/.exec(section)?.[1];
    if (file === undefined) continue;
    files.set(
      file,
      section
        .split(/^ \[\d+\] /m)
        .slice(1)
        .map(readRecord),
    );
  }
  return files;
}

function readRecord(record: string): RecordedCertificate {
  const line = (pattern: RegExp): string => pattern.exec(record)?.[1]?.trim() ?? "";
  const list = (title: string): string[] =>
    line(new RegExp(`X509v3 ${title}:.*\\n(.*)`))
      .split(", ")
      .filter((item) => item !== "");
  const day = 86_400_000;
  const span = Date.parse(line(/notAfter=(.*)/)) - Date.parse(line(/notBefore=(.*)/));
  return {
    subject: Object.fromEntries(
      line(/subject=(.*)/)
        .split(",")
        .map((part) => part.split("=") as [string, string]),
    ),
    issuerPrefix: line(/issuer=CN=([^@]*)@/),
    lifetimeDays: span / day,
    keyUsage: list("Key Usage"),
    extendedKeyUsage: list("Extended Key Usage").map((name) => purposes[name] ?? name),
    isCa: list("Basic Constraints").includes("CA:TRUE"),
    names: list("Subject Alternative Name").map((name) => name.replace(/^(DNS|IP Address):/, "")),
    key: line(/^(.*)/),
  };
}
