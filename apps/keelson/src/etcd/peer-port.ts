import { readFile } from "node:fs/promises";
import { request } from "node:https";
import { KeelsonError } from "@keelson/service";
import { parseDbInfo } from "./db-info.ts";
import type { EtcdLayout } from "./layout.ts";
import type { MemberHealth } from "./member-health.ts";
import type { EtcdMember } from "./membership.ts";

const timeoutMs = 2_000;
const maxAnswerBytes = 1024 * 1024;

/**
 * Asks etcd servers on the port that they keep for each other. A member that has just started serves it at once, and its
 * clients only when there is a quorum: until then nothing else tells who the others are and whether they are there.
 */
export class PeerPort {
  readonly #ownUrl: string;
  readonly #certificates: EtcdLayout["certificates"];

  constructor(ownUrl: string, certificates: EtcdLayout["certificates"]) {
    this.#ownUrl = ownUrl;
    this.#certificates = certificates;
  }

  /** The members as this server's etcd remembers them. */
  members(): Promise<EtcdMember[]> {
    return this.#membersAt(this.#ownUrl);
  }

  /** The members, and which of them can be reached. Who leads is not told here. */
  async survey(): Promise<MemberHealth[]> {
    const members = await this.members();
    const answers = await Promise.all(members.map(({ peerUrls }) => this.#isReached(peerUrls)));
    return members.map((member, index) => ({
      ...member,
      answers: answers[index]!,
      isLeader: false,
      appliedIndex: undefined,
    }));
  }

  async #isReached(peerUrls: readonly string[]): Promise<boolean> {
    return Promise.any(peerUrls.map((url) => this.#membersAt(url))).then(
      () => true,
      () => false,
    );
  }

  async #membersAt(peerUrl: string): Promise<EtcdMember[]> {
    const { peerCa, peerCert, peerKey } = this.#certificates;
    const [ca, cert, key] = await Promise.all([peerCa, peerCert, peerKey].map((file) => readFile(file)));
    const text = await new Promise<string>((resolve, reject) => {
      const signal = AbortSignal.timeout(timeoutMs);
      const req = request(new URL("/members", peerUrl), { ca, cert, key, signal, agent: false }, async (res) => {
        try {
          let answer = "";
          for await (const chunk of res.setEncoding("utf8")) {
            answer += chunk;
            if (answer.length > maxAnswerBytes) throw new KeelsonError("etcd/peer", "the answer is too large");
          }
          if (res.statusCode !== 200) throw new KeelsonError("etcd/peer", `${peerUrl} answered ${res.statusCode}`);
          resolve(answer);
        } catch (error) {
          reject(error);
        }
      });
      req.on("error", reject);
      req.end();
    });
    // The same list as that of /db/info, but for the case of one name.
    return parseDbInfo(`{"members":${text.replaceAll('"id":', '"ID":')}}`);
  }
}
