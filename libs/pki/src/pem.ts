export interface PemBlock {
  /** `CERTIFICATE`, `EC PRIVATE KEY`, … */
  label: string;
  der: Buffer;
  /** The block as text, with a newline at its end. */
  text: string;
}

const block = /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\r\n]+?)-----END \1-----/g;

/** Every PEM block of a text, in order; anything between blocks is left out. */
export function readPem(pem: string): PemBlock[] {
  return [...pem.matchAll(block)].map(([whole, label, body]) => ({
    label: label!,
    der: Buffer.from(body!, "base64"),
    text: `${whole}\n`,
  }));
}

export function writePem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** Splits the answer to a certificate request: certificates as they are, and the private key if one came with them. */
export function splitCertificateAndKey(pem: string): { certificatesPem: string; keyPem: string | undefined } {
  const blocks = readPem(pem);
  const certificates = blocks.filter(({ label }) => !label.endsWith("PRIVATE KEY"));
  const key = blocks.find(({ label }) => label.endsWith("PRIVATE KEY"));
  return { certificatesPem: certificates.map(({ text }) => text).join(""), keyPem: key?.text };
}
