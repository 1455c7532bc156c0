import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { type Answer, accepted, refused } from "@keelson/protocol/supervisor";
import { parseToken, secretsEqual } from "@keelson/secret-format";
import { errorCode, errorMessage, KeelsonError, type Logger } from "@keelson/service";
import type { ClusterBootstrap } from "../bootstrap/cluster-bootstrap.ts";
import type { EnvelopeStore } from "../bootstrap/envelope-store.ts";
import type { ServerPaths } from "../server-paths.ts";
import type { CredentialStore } from "./credentials.ts";
import { MissedRotation } from "./missed-rotation.ts";
import { openRotationNotice, rotationNoticeKey } from "./rotation-notice.ts";

const minLength = 8;

/**
 * Replaces the server token while everything runs. Nothing is written before it is certain that the new token can take the
 * old one's place everywhere: in the files, in the envelope, on the other servers.
 */
export class TokenRotation {
  readonly #credentials: CredentialStore;
  readonly #paths: ServerPaths;
  readonly #log: Logger;
  readonly #shared: { store: EnvelopeStore; bootstrap: ClusterBootstrap } | undefined;
  readonly #missed: MissedRotation | undefined;
  /** The rotation that is under way here. */
  #running: Promise<Answer<void>> | undefined;

  constructor(
    credentials: CredentialStore,
    paths: ServerPaths,
    log: Logger,
    shared: { store: EnvelopeStore; bootstrap: ClusterBootstrap } | undefined,
  ) {
    this.#credentials = credentials;
    this.#paths = paths;
    this.#log = log;
    this.#shared = shared;
    this.#missed = shared && new MissedRotation(shared.store, credentials, log, () => this.#running);
  }

  async rotate(newToken: string): Promise<Answer<void>> {
    const password = this.#parse(newToken);
    if (!password.ok) return password;
    if (this.#running !== undefined) return refused(409, "token/rotating", "another token rotation is under way");
    this.#running = this.#answer(password.value).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Takes over rotations that other servers make; the returned function ends it. */
  follow(): () => void {
    if (this.#shared === undefined) return () => {};
    const unfollow = this.#shared.store.watch(rotationNoticeKey, (sealed) => {
      void this.#apply(sealed).catch((error: unknown) => {
        this.#log.error(
          { err: error },
          "a token rotation of another server could not be taken over; restart with the new token",
        );
      });
    });
    this.#missed?.start();
    return () => {
      unfollow();
      this.#missed?.stop();
    };
  }

  /** Whether a password that nobody has is the token of a rotation that was missed here; then it is this server's from now on. */
  async takesUp(password: string): Promise<boolean> {
    return (await this.#missed?.takesUp(password)) ?? false;
  }

  async #answer(password: string): Promise<Answer<void>> {
    try {
      return await this.#rotate(password);
    } catch (error) {
      this.#log.error({ err: error }, "the token rotation did not go through");
      const known = error instanceof KeelsonError ? error : undefined;
      return refused(
        known?.status === 409 ? 409 : 503,
        errorCode(error) ?? "token/rotation-failed",
        `the token rotation did not go through: ${errorMessage(error)}`,
        { hint: known?.hint ?? "the old token stays in force" },
      );
    }
  }

  async #rotate(password: string): Promise<Answer<void>> {
    const oldPassword = this.#credentials.serverPassword;
    if (secretsEqual(oldPassword, password)) {
      return refused(400, "token/unchanged", "the new token is the one that is in force");
    }
    if (this.#credentials.isAgentPassword(password)) {
      return refused(
        400,
        "token/agent-token",
        "the new token is the agents' token: every agent could join as a server",
        {
          hint: "choose another new token",
        },
      );
    }
    await access(this.#paths.passwd, constants.R_OK | constants.W_OK);
    await access(this.#paths.root, constants.W_OK);
    const passwd = this.#credentials.passwdWith(password);
    await this.#shared?.bootstrap.rekey(oldPassword, password, passwd);
    await this.#replaceHere(password);
    this.#log.info("the server token was rotated; the old one is refused from now on");
    return accepted(undefined);
  }

  async #replaceHere(password: string): Promise<void> {
    try {
      await this.#credentials.replaceServerPassword(password);
    } catch (cause) {
      if (this.#shared === undefined) throw cause;
      throw new KeelsonError(
        "token/rotation-unfinished",
        `the cluster has the new token, but the files of this server could not be written: ${errorMessage(cause)}`,
        { hint: "mend that and rotate to the same token again on this server", cause },
      );
    }
  }

  async #apply(sealed: string): Promise<void> {
    // The notice of a rotation made here comes before that rotation has written its files.
    await this.#running;
    const password = openRotationNotice(sealed, [this.#credentials.serverPassword]);
    if (password === undefined) return; // our own notice, or one that is already in force here
    await this.#credentials.replaceServerPassword(password);
    this.#log.info("took over the server token that another server rotated to");
  }

  #parse(newToken: string): Answer<string> {
    if (newToken === "") return accepted(randomBytes(16).toString("hex"));
    if (newToken.length > 1_024 || /[\s\p{Cc}]/u.test(newToken)) {
      return refused(400, "token/invalid", "a token has no blanks or control characters and at most 1024 characters");
    }
    try {
      const token = parseToken(newToken);
      if (token.bootstrap !== undefined) {
        return refused(400, "token/invalid", "a bootstrap token cannot be the server token");
      }
      if (token.caHash !== undefined && token.caHash !== "" && token.caHash !== this.#credentials.caHash) {
        return refused(
          400,
          "token/ca-mismatch",
          "the new token pins another CA; agents with it would refuse this cluster",
        );
      }
      if (token.password.length < minLength) {
        return refused(400, "token/too-short", `a token needs at least ${minLength} characters`, {
          hint: "leave it empty to have one drawn",
        });
      }
      return accepted(token.password);
    } catch (error) {
      return refused(400, "token/invalid", errorMessage(error));
    }
  }
}
