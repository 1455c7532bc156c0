import { hashCaBundle, parseToken } from "@keelson/secret-format";
import { KeelsonError, type Logger } from "@keelson/service";
import { basicAuthorization, downloadCa, type HttpsAnswer, httpsCall } from "./https-call.ts";

/**
 * A running server, addressed with a token: its CA is held against the token's pin before a password goes anywhere.
 * Source: K3s clientaccess.
 */
export class PinnedServer {
  readonly #url: string;
  readonly #token: string;
  readonly #log: Logger;
  #ca: string | undefined;

  constructor(url: string, token: string, log: Logger) {
    this.#url = url;
    this.#token = token;
    this.#log = log;
  }

  /** Calls a route as `user` with the password of the token, or with another password. */
  async call(
    user: "server" | "node",
    request: { path: string; method?: "GET" | "PUT"; body?: string; token?: string },
  ): Promise<HttpsAnswer> {
    const { token = this.#token, ...call } = request;
    this.#ca ??= await this.#verifiedCa();
    const authorization = basicAuthorization(user, parseToken(token).password);
    return httpsCall({ url: this.#url, ca: this.#ca, authorization, ...call });
  }

  async #verifiedCa(): Promise<string> {
    const ca = await downloadCa(this.#url);
    const { caHash } = parseToken(this.#token);
    const actual = hashCaBundle(ca);
    if (caHash === undefined || caHash === "") {
      this.#log.warn("the token has no CA hash, so the server is trusted on first use; the full token is safer");
    } else if (caHash.toLowerCase() !== actual) {
      throw new KeelsonError(
        "token/ca-mismatch",
        `token CA hash does not match the Cluster CA certificate hash: ${caHash} != ${actual}`,
        { hint: "the address belongs to another cluster, or someone is between" },
      );
    }
    return ca;
  }
}
