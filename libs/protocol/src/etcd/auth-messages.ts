import { type Codec, defineMessage } from "./codec.ts";
import { header } from "./kv-messages.ts";
import { bool, bytes, counter, enumeration, type Field, message, repeated, string } from "./schema.ts";

/** Auth messages. Source: etcd's rpc.proto and auth.proto. */

const permission = defineMessage("authpb.Permission", {
  permType: { ...enumeration(1, ["READ", "WRITE", "READWRITE"]), protoName: "permType" },
  key: bytes(2),
  rangeEnd: bytes(3),
});
const userAddOptions = defineMessage("authpb.UserAddOptions", { noPassword: bool(1) });

/** Requests by method name; fields as numbered in rpc.proto. */
const requests: Record<string, Record<string, Field>> = {
  AuthEnable: {},
  AuthDisable: {},
  AuthStatus: {},
  Authenticate: { name: string(1), password: string(2) },
  UserAdd: {
    name: string(1),
    password: string(2),
    options: message(3, () => userAddOptions) as Field,
    hashedPassword: string(4, "hashedPassword"),
  },
  UserGet: { name: string(1) },
  UserList: {},
  UserDelete: { name: string(1) },
  UserChangePassword: { name: string(1), password: string(2), hashedPassword: string(3, "hashedPassword") },
  UserGrantRole: { user: string(1), role: string(2) },
  UserRevokeRole: { name: string(1), role: string(2) },
  RoleAdd: { name: string(1) },
  RoleGet: { role: string(1) },
  RoleList: {},
  RoleDelete: { role: string(1) },
  RoleGrantPermission: { name: string(1), perm: message(2, () => permission) as Field },
  RoleRevokePermission: { role: string(1), key: bytes(2), rangeEnd: bytes(3) },
};

/** What a response has beside the header. */
const responses: Record<string, Record<string, Field>> = {
  AuthStatus: { enabled: bool(2), authRevision: counter(3, "authRevision") },
  Authenticate: { token: string(2) },
  UserGet: { roles: repeated(string(2)) },
  UserList: { users: repeated(string(2)) },
  RoleGet: { perm: repeated(message(2, () => permission)) as Field },
  RoleList: { roles: repeated(string(2)) },
};

export interface AuthMethod {
  name: string;
  request: Codec<Record<string, unknown>>;
  response: Codec<Record<string, unknown>>;
}

/** Every method of etcdserverpb.Auth. `Auth…` and `Authenticate` messages are not prefixed twice. */
export const authMethods: readonly AuthMethod[] = Object.entries(requests).map(([name, fields]) => {
  const base = `etcdserverpb.${name.startsWith("Auth") ? name : `Auth${name}`}`;
  return {
    name,
    request: defineMessage(`${base}Request`, fields) as unknown as Codec<Record<string, unknown>>,
    response: defineMessage(`${base}Response`, { header, ...responses[name] }) as unknown as Codec<
      Record<string, unknown>
    >,
  };
});
