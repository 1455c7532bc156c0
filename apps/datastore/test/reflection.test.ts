import { GrpcConnection } from "@keelson/etcd-client";
import {
  type FileDescriptor,
  fileDescriptor,
  type Input,
  type MessageType,
  reflectionRequest,
  reflectionResponse,
} from "@keelson/protocol/etcd";
import { expect, it, onTestFinished, vi } from "vitest";
import { runDatastore } from "./running-datastore.ts";

// Seconds of work that a busy machine may stretch.
vi.setConfig({ testTimeout: 60_000 });

type Response = MessageType<typeof reflectionResponse>;

/** Asks as grpcurl does: one stream, one request after the other. */
async function reflect(
  url: string,
  version: string,
): Promise<(request: Input<MessageType<typeof reflectionRequest>>) => Promise<Response>> {
  const connection = new GrpcConnection(url, undefined);
  onTestFinished(() => connection.close());
  const waiting: ((response: Response) => void)[] = [];
  const call = await connection.stream(`/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`, {
    onMessage: (message) => waiting.shift()!(reflectionResponse.decode(message)),
    onEnd: () => {},
  });
  return (request) => {
    call.send(reflectionRequest.encode(request));
    return new Promise((resolve) => waiting.push(resolve));
  };
}

function filesOf(response: Response): FileDescriptor[] {
  return (response.fileDescriptorResponse?.fileDescriptorProto ?? []).map((bytes) => fileDescriptor.decode(bytes));
}

/** Full names of all messages and enums in the files. */
function typesIn(files: readonly FileDescriptor[]): Set<string> {
  const names = files.flatMap((file) => [
    ...file.enumType.map(({ name }) => `.${file.package}.${name}`),
    ...file.messageType.flatMap((message) => [
      `.${file.package}.${message.name}`,
      ...message.enumType.map(({ name }) => `.${file.package}.${message.name}.${name}`),
    ]),
  ]);
  return new Set(names);
}

it.each(["v1", "v1alpha"])("lets a client resolve every service to its messages, as %s", async (version) => {
  const { url } = await runDatastore();
  const ask = await reflect(url, version);
  const listed = (await ask({ listServices: "" })).listServicesResponse!.service.map(({ name }) => name);
  expect(listed).toEqual(expect.arrayContaining(["etcdserverpb.KV", "etcdserverpb.Watch", "grpc.health.v1.Health"]));
  for (const service of listed) {
    const files = filesOf(await ask({ fileContainingSymbol: service }));
    expect(files.flatMap((file) => file.service.map(({ name }) => `${file.package}.${name}`))).toContain(service);
    const names = new Set(files.map(({ name }) => name));
    const types = typesIn(files);
    for (const file of files) {
      expect(file.syntax).toBe("proto3");
      for (const dependency of file.dependency) expect(names).toContain(dependency);
      const referred = [
        ...file.messageType.flatMap((message) => message.field.map(({ typeName }) => typeName)).filter(Boolean),
        ...file.service.flatMap(({ method }) => method.flatMap(({ inputType, outputType }) => [inputType, outputType])),
      ];
      for (const name of referred) expect(types).toContain(name);
    }
  }
});

it("finds files by name, method, message, field and enum, and says what it does not know", async () => {
  const { url } = await runDatastore();
  const ask = await reflect(url, "v1");
  for (const symbol of [
    "etcdserverpb.KV.Range",
    "etcdserverpb.RangeRequest",
    "etcdserverpb.RangeRequest.sort_order",
    "etcdserverpb.RangeRequest.SortOrder",
    "etcdserverpb.AlarmType",
  ]) {
    const [file] = filesOf(await ask({ fileContainingSymbol: symbol }));
    expect(file?.name).toBe("etcd/api/etcdserverpb/rpc.proto");
    expect(filesOf(await ask({ fileByFilename: file!.name }))[0]).toEqual(file);
  }
  const [rpc] = filesOf(await ask({ fileContainingSymbol: "etcdserverpb.Compare" }));
  const compare = rpc!.messageType.find(({ name }) => name === "Compare")!;
  expect(compare.oneofDecl).toEqual([{ name: "target_union" }]);
  expect(compare.field.find(({ name }) => name === "mod_revision")).toMatchObject({ number: 6, oneofIndex: 0 });
  expect(compare.field.find(({ name }) => name === "range_end")).toMatchObject({ number: 64, oneofIndex: undefined });
  expect((await ask({ fileContainingSymbol: "nothing.At.All" })).errorResponse).toMatchObject({ errorCode: 5 });
});
