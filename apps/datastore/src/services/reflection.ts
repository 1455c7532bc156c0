import {
  describeFiles,
  type FileDescriptor,
  fileDescriptor,
  grpcStatus,
  type Input,
  type MessageType,
  reflectionRequest,
  reflectionResponse,
} from "@keelson/protocol/etcd";
import type { StreamMethod } from "../server/rpc.ts";
import { decodeMessage } from "./message-method.ts";

type Request = MessageType<typeof reflectionRequest>;
type Response = Input<MessageType<typeof reflectionResponse>>;

/** grpc.reflection.v1 and its older name, which say the same: tools ask for either. */
const paths = ["v1", "v1alpha"].map((version) => `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`);

/** Server reflection: tools learn the services and all their messages from it (`grpcurl list`, `describe`, calls in JSON). */
export function reflectionMethods(serviceNames: readonly string[]): StreamMethod[] {
  let index: DescriptorIndex | undefined;
  const answer = (request: Request): Response => {
    if (request.listServices !== undefined) {
      return { listServicesResponse: { service: serviceNames.map((name) => ({ name })) } };
    }
    index ??= new DescriptorIndex(describeFiles());
    const symbol = request.fileContainingSymbol;
    const name = request.fileByFilename;
    const file = symbol !== undefined ? index.containing(symbol) : name !== undefined ? index.named(name) : undefined;
    if (file === undefined) {
      const errorMessage = `${symbol ?? name ?? "what was asked for"} is not known here`;
      return { errorResponse: { errorCode: grpcStatus.notFound, errorMessage } };
    }
    return { fileDescriptorResponse: { fileDescriptorProto: index.withDependencies(file) } };
  };
  return paths.map((path) => ({
    kind: "stream",
    path,
    open: (stream) => ({
      onMessage(message) {
        const request = decodeMessage(reflectionRequest, message);
        const { host } = request;
        stream.send([reflectionResponse.encode({ validHost: host, originalRequest: request, ...answer(request) })]);
      },
      onHalfClose: () => stream.end(),
      onClosed() {},
    }),
  }));
}

/** Finds files by their own names and by what they define. */
class DescriptorIndex {
  readonly #byName = new Map<string, FileDescriptor>();
  readonly #bySymbol = new Map<string, FileDescriptor>();

  constructor(files: readonly FileDescriptor[]) {
    for (const file of files) {
      this.#byName.set(file.name, file);
      for (const symbol of symbolsOf(file)) this.#bySymbol.set(`${file.package}.${symbol}`, file);
    }
  }

  named(name: string): FileDescriptor | undefined {
    return this.#byName.get(name);
  }

  containing(symbol: string): FileDescriptor | undefined {
    return this.#bySymbol.get(symbol.replace(/^\./, ""));
  }

  /** The file and everything it imports, encoded; itself first. */
  withDependencies(file: FileDescriptor): Buffer[] {
    const found = new Set([file]);
    // A set hands out what is added to it while it is walked.
    for (const { dependency } of found) for (const name of dependency) found.add(this.#byName.get(name)!);
    return [...found].map((one) => fileDescriptor.encode(one));
  }
}

/** Names within the package: services, their methods, messages, their fields and enums. */
function* symbolsOf(file: FileDescriptor): Generator<string> {
  for (const service of file.service) {
    yield service.name;
    for (const method of service.method) yield `${service.name}.${method.name}`;
  }
  for (const message of file.messageType) {
    yield message.name;
    for (const { name } of [...message.field, ...message.enumType]) yield `${message.name}.${name}`;
  }
  for (const { name } of file.enumType) yield name;
}
