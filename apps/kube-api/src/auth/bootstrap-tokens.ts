import {
  bootstrapTokenSecretName,
  parseBootstrapTokenSecret,
  type SecretObject,
  secretsEqual,
} from "@keelson/secret-format";
import type { Clock } from "@keelson/service";
import type { KindCatalog } from "../kinds/catalog.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { groups, type User } from "./user.ts";

const tokenPattern = /^([a-z0-9]{6})\.([a-z0-9]{16})$/;

/** The user behind a bootstrap token `id.secret`. Source: kubernetes plugin/pkg/auth/authenticator/token/bootstrap. */
export class BootstrapTokens {
  readonly #store: ObjectStore;
  readonly #catalog: KindCatalog;
  readonly #clock: Clock;

  constructor(store: ObjectStore, catalog: KindCatalog, clock: Clock) {
    this.#store = store;
    this.#catalog = catalog;
    this.#clock = clock;
  }

  /** Undefined when the token is not one, is wrong, has expired or is not for authentication. */
  async verify(token: string): Promise<User | undefined> {
    const [, id, secret] = tokenPattern.exec(token) ?? [];
    if (id === undefined || secret === undefined) return undefined;
    const kind = this.#catalog.require("secrets");
    const stored = await this.#store.get({ kind, namespace: "kube-system", name: bootstrapTokenSecretName(id) });
    const known = stored === undefined ? undefined : parseBootstrapTokenSecret(stored as unknown as SecretObject);
    if (known === undefined || !secretsEqual(known.secret, secret)) return undefined;
    if (known.expiresAtMs !== undefined && known.expiresAtMs <= this.#clock.now()) return undefined;
    if (!known.usages.includes("authentication")) return undefined;
    return {
      name: `system:bootstrap:${id}`,
      groups: [groups.bootstrappers, ...known.groups, groups.authenticated],
    };
  }
}
