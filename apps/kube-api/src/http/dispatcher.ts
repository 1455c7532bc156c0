import type { IncomingMessage, ServerResponse } from "node:http";
import { errorMessage, type Health, type Logger, type Registry } from "@keelson/service";
import type { RequestAuthenticator } from "../auth/authenticate.ts";
import type { Authorizer } from "../auth/authorizer.ts";
import { impersonated } from "../auth/impersonate.ts";
import type { ServiceAccountTokens } from "../auth/service-account-tokens.ts";
import { groups, nodeOf, type User } from "../auth/user.ts";
import type { Discovery } from "../discovery/discovery.ts";
import type { OpenApi } from "../discovery/openapi.ts";
import { kubernetesVersion } from "../discovery/version.ts";
import { isMap } from "../patch/merge-patch.ts";
import { apiSchema, messageName } from "../schema/kinds.ts";
import type { ApiContext, Call } from "../verbs/call.ts";
import { conformBody } from "../verbs/parse-object.ts";
import { get, list } from "../verbs/read.ts";
import { remove, removeCollection } from "../verbs/remove.ts";
import { reviews } from "../verbs/reviews.ts";
import { subresourceHandlers } from "../verbs/subresources.ts";
import { watch } from "../verbs/watch.ts";
import { create, patch, update } from "../verbs/write.ts";
import { apiErrors, toApiError } from "./api-error.ts";
import { errorEncoding, negotiate, readObject } from "./content.ts";
import {
  type PathRequest,
  parseRequest,
  type RequestInfo,
  type ResourceRequest,
  selectedName,
} from "./request-info.ts";
import type { RequestMetrics } from "./request-metrics.ts";
import { sendBytes, sendError, sendJson, sendObject, sendText } from "./respond.ts";

/** Connections into a node: logs, exec, attach, port-forward, proxy. */
export interface NodeConnections {
  serve(info: ResourceRequest, request: IncomingMessage, response: ServerResponse): Promise<void>;
}

export interface DispatcherParts {
  context: ApiContext;
  authenticator: RequestAuthenticator;
  authorizer: Authorizer;
  tokens: ServiceAccountTokens | undefined;
  discovery: Discovery;
  openApi: OpenApi;
  health: Health;
  registry: Registry;
  metrics: RequestMetrics;
  nodes: NodeConnections;
  log: Logger;
}

type Handler = (call: Call) => Promise<void>;

const verbs: Readonly<Record<string, Handler>> = {
  get,
  list,
  watch,
  create,
  update,
  patch,
  delete: remove,
  deletecollection: removeCollection,
};

/** Takes a request from its arrival to its answer: who, what, may they, do it. */
export class Dispatcher {
  readonly #parts: DispatcherParts;

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
  }

  /** Never rejects: whatever goes wrong is answered as a Status. */
  async handle(request: IncomingMessage, response: ServerResponse, isTrustedSocket: boolean): Promise<void> {
    const info = parseRequest(request.method ?? "GET", request.url ?? "/");
    this.#parts.metrics.observe(info, response);
    try {
      if (info === undefined) throw apiErrors.badRequest("the path of the request is not valid");
      const user = await this.authorize(info, request, isTrustedSocket);
      await this.#answer(info, user, request, response);
    } catch (thrown) {
      const error = toApiError(thrown);
      // 503: the datastore is away, which its own check and the controllers report once, not once a request.
      if (error.code >= 500 && error.code !== 503) {
        this.#parts.log.warn(
          { method: request.method, path: request.url?.split("?")[0], error: errorMessage(error) },
          "request failed",
        );
      }
      // What the client still sends is not wanted any more.
      request.resume();
      sendError(response, error, errorEncoding(request.headers.accept));
    }
  }

  /** As whom it is asked, if they may; throws 401 or 403. */
  async authorize(info: RequestInfo, request: IncomingMessage, isTrustedSocket: boolean): Promise<User> {
    const { authenticator, authorizer } = this.#parts;
    const sender = await authenticator.authenticate(request, isTrustedSocket);
    const user = impersonated(request.rawHeaders, sender, (attributes) => authorizer.decide(attributes));
    const isAnonymous = user.groups.includes(groups.unauthenticated);
    const { allowed, reason } = authorizer.decide(attributesOf(info, user, request));
    if (!allowed) throw isAnonymous ? apiErrors.unauthorized() : apiErrors.forbidden(reason, detailsOf(info));
    return user;
  }

  async #answer(info: RequestInfo, user: User, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!info.isResource) return this.#answerPath(info, request, response);
    const { context, tokens, nodes } = this.#parts;
    const review = reviews[`${info.resource}.${info.group}`];
    if (review !== undefined && info.verb === "create") return this.#review(info, user, request, response);
    const kind = context.catalog.find(info.group, info.version, info.resource);
    if (kind === undefined) throw apiErrors.noSuchPath();
    if (kind.namespaced && info.namespace === undefined && !["list", "watch"].includes(info.verb)) {
      throw apiErrors.methodNotAllowed();
    }
    const node = nodeOf(user);
    if (node !== undefined) await context.nodeRestriction.check(node, info);
    if (info.verb === "connect" || info.subresource === "log") return nodes.serve(info, request, response);
    const call: Call = {
      context,
      info,
      kind,
      user,
      request,
      response,
      format: negotiate(request.headers.accept),
    };
    if (info.subresource !== undefined) {
      if (!(kind.subresources ?? []).includes(info.subresource)) throw apiErrors.noSuchPath();
      const special = subresourceHandlers[`${info.resource}/${info.subresource}`];
      if (special !== undefined) return special(call, tokens);
      if (!["get", "update", "patch"].includes(info.verb)) throw apiErrors.methodNotAllowed();
    }
    const handler = verbs[info.verb];
    if (handler === undefined) throw apiErrors.methodNotAllowed();
    return handler(call);
  }

  async #review(info: ResourceRequest, user: User, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { kind, review } = reviews[`${info.resource}.${info.group}`]!;
    const sent = await readObject(request);
    if (!isMap(sent)) throw apiErrors.badRequest("the request body must be an object");
    const apiVersion = `${info.group}/${info.version}`;
    const message = apiSchema().find(messageName(apiVersion, kind) ?? "");
    const { object: body } = conformBody(sent, kind, info.version, message);
    const status = await review(body, user, this.#parts);
    const answered = { kind, apiVersion, metadata: { creationTimestamp: null }, spec: body.spec, status };
    sendObject(response, 201, answered, negotiate(request.headers.accept).encoding);
  }

  async #answerPath(info: PathRequest, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { discovery, openApi, health, registry } = this.#parts;
    if (request.method !== "GET" && request.method !== "HEAD") throw apiErrors.methodNotAllowed();
    if (info.path === "/version") return sendJson(response, 200, kubernetesVersion);
    if (info.path === "/metrics") return sendText(response, 200, await registry.metrics());
    const report = await health.handle(request.url ?? "/");
    if (report !== undefined) return sendText(response, report.status, report.body);
    const document = discovery.document(info.path, request.headers.accept);
    if (document !== undefined) {
      sendJson(response, 200, document.body, document.contentType);
      return;
    }
    const schema = openApi.document(info.path, request.headers.accept);
    if (schema !== undefined) return sendBytes(response, 200, schema.body, schema.contentType);
    throw apiErrors.noSuchPath();
  }
}

function attributesOf(info: RequestInfo, user: User, request: IncomingMessage) {
  if (!info.isResource) {
    const verb = request.method === "HEAD" ? "get" : info.verb;
    return { user, verb, path: info.path, group: "", resource: "", subresource: "", namespace: "", name: "" };
  }
  return {
    user,
    verb: info.verb === "connect" ? (request.method === "GET" ? "get" : "create") : info.verb,
    group: info.group,
    resource: info.resource,
    subresource: info.subresource ?? "",
    namespace: info.namespace ?? "",
    name: info.name ?? selectedName(info.query) ?? "",
  };
}

function detailsOf(info: RequestInfo) {
  if (!info.isResource) return {};
  return { ...(info.name && { name: info.name }), ...(info.group && { group: info.group }), kind: info.resource };
}
