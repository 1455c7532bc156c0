import { authService, etcdErrors, grpcStatus, RpcError } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import type { UnaryMethod } from "../server/rpc.ts";
import { unimplemented } from "../server/status.ts";
import { messageMethod } from "./message-method.ts";

/**
 * etcdserverpb.Auth as an etcd answers it whose authentication is off and that has no users. Who may connect is a matter
 * of client certificates here, so users and roles cannot be added.
 */
export function authOffService(core: Core): UnaryMethod[] {
  const refusals: Record<string, () => Error> = {
    AuthEnable: etcdErrors.rootUserNotExist,
    Authenticate: etcdErrors.authNotEnabled,
    UserGet: userNotFound,
    UserDelete: userNotFound,
    UserChangePassword: userNotFound,
    UserGrantRole: userNotFound,
    UserRevokeRole: userNotFound,
    RoleGet: roleNotFound,
    RoleDelete: roleNotFound,
    RoleGrantPermission: roleNotFound,
    RoleRevokePermission: roleNotFound,
    UserAdd: notSupported,
    RoleAdd: notSupported,
  };
  return authService.map((method) =>
    messageMethod(method, () => {
      const refusal = refusals[method.name];
      if (refusal !== undefined) throw refusal();
      return { header: core.header(), ...(method.name === "AuthStatus" ? { authRevision: 1 } : {}) };
    }),
  );
}

function userNotFound(): RpcError {
  return new RpcError(grpcStatus.failedPrecondition, "etcdserver: user name not found");
}

function roleNotFound(): RpcError {
  return new RpcError(grpcStatus.failedPrecondition, "etcdserver: role name not found");
}

function notSupported(): RpcError {
  return unimplemented("etcdserver: users and roles are not supported; use client certificates");
}
