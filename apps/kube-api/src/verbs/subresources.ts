import type { ServiceAccountTokens } from "../auth/service-account-tokens.ts";
import { apiErrors } from "../http/api-error.ts";
import { readObject } from "../http/content.ts";
import { sendObject } from "../http/respond.ts";
import { type ApiObject, textAt } from "../kinds/kind.ts";
import { isMap } from "../patch/merge-patch.ts";
import { answer, answerSuccess } from "./answer.ts";
import { type Call, idOf } from "./call.ts";
import { parseDeleteOptions } from "./delete-options.ts";
import { isDryRun } from "./dry-run.ts";
import { removeObject } from "./remove.ts";
import { serveScale } from "./scale.ts";

/** Subresources that are neither status nor a connection to a node, by `plural/subresource`. */
export type SubresourceHandler = (call: Call, tokens: ServiceAccountTokens | undefined) => Promise<void>;

const minTokenSeconds = 600;
const defaultTokenSeconds = 3_600;
const maxTokenSeconds = 86_400 * 365;

export const subresourceHandlers: Readonly<Record<string, SubresourceHandler>> = {
  "pods/binding": bindPod,
  "pods/eviction": evictPod,
  "serviceaccounts/token": requestToken,
  "namespaces/finalize": finalizeNamespace,
  "deployments/scale": serveScale,
  "replicasets/scale": serveScale,
  "statefulsets/scale": serveScale,
  "replicationcontrollers/scale": serveScale,
};

/** Puts a pod on a node: what a scheduler posts. */
async function bindPod(call: Call): Promise<void> {
  const body = await readObject(call.request);
  const target = textAt(body, "target.name");
  if (target === "") throw apiErrors.badRequest("target.name is required");
  const id = idOf(call);
  const bound = (pod: ApiObject): ApiObject => {
    const spec = pod.spec as { nodeName?: string };
    if (spec.nodeName)
      throw apiErrors.conflict(id.kind, id.name, `pod ${id.name} is already assigned to node "${spec.nodeName}"`);
    return { ...pod, spec: { ...spec, nodeName: target } };
  };
  await call.context.store.update(id, bound, { dryRun: isDryRun(call.info) });
  answerSuccess(call, 201);
}

async function evictPod(call: Call): Promise<void> {
  const body = await readObject(call.request);
  const options = parseDeleteOptions(call.info, isMap(body) ? body.deleteOptions : undefined);
  await removeObject(call.context, idOf(call), options);
  answerSuccess(call, 201);
}

async function requestToken(call: Call, tokens: ServiceAccountTokens | undefined): Promise<void> {
  if (tokens === undefined) throw apiErrors.notFound(call.kind, call.info.name ?? "");
  const body = await readObject(call.request);
  const spec = isMap(body) && isMap(body.spec) ? body.spec : {};
  const account = await call.context.store.get(idOf(call));
  if (account === undefined) throw apiErrors.notFound(call.kind, call.info.name ?? "");
  const wanted = Number(spec.expirationSeconds ?? defaultTokenSeconds);
  const seconds = Math.min(maxTokenSeconds, Math.max(minTokenSeconds, wanted));
  const bound = isMap(spec.boundObjectRef) && spec.boundObjectRef.kind === "Pod" ? spec.boundObjectRef : undefined;
  const audiences = Array.isArray(spec.audiences) ? (spec.audiences as string[]) : [];
  const { token, expiresAtMs } = tokens.sign({
    namespace: account.metadata.namespace ?? "",
    name: account.metadata.name,
    uid: account.metadata.uid ?? "",
    audiences,
    expirationSeconds: seconds,
    ...(bound === undefined ? {} : { pod: { name: String(bound.name), uid: String(bound.uid) } }),
  });
  const answered = {
    kind: "TokenRequest",
    apiVersion: "authentication.k8s.io/v1",
    metadata: { name: account.metadata.name, namespace: account.metadata.namespace, creationTimestamp: null },
    spec: {
      ...spec,
      audiences: audiences.length === 0 ? [tokens.defaultAudience] : audiences,
      expirationSeconds: seconds,
    },
    status: { token, expirationTimestamp: new Date(expiresAtMs).toISOString().replace(/\.\d+Z$/, "Z") },
  };
  sendObject(call.response, 201, answered, call.format.encoding);
}

/** Takes finalizers off a namespace; the namespace controller then removes it. */
async function finalizeNamespace(call: Call): Promise<void> {
  const body = await readObject(call.request);
  const finalizers = (isMap(body) && isMap(body.spec) ? body.spec.finalizers : undefined) ?? [];
  const id = idOf(call);
  const dryRun = isDryRun(call.info);
  const finalized = (namespace: ApiObject): ApiObject => ({
    ...namespace,
    spec: { ...(namespace.spec as object), finalizers },
  });
  const written = await call.context.store.update(id, finalized, { dryRun });
  const isDone = written.metadata.deletionTimestamp !== undefined && (finalizers as unknown[]).length === 0;
  if (isDone && !dryRun) await call.context.store.delete(id);
  answer(call, 200, written);
}
