import type { AnyCodec } from "./codec.ts";
import { protoName } from "./json.ts";
import type { EnumDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor } from "./reflection-messages.ts";
import type { Field, Scalar } from "./schema.ts";
import { authService, type MethodDescriptor, services } from "./services.ts";

/** Where etcd and gRPC keep the proto file of each package. */
const filesOfPackages: Record<string, string> = {
  etcdserverpb: "etcd/api/etcdserverpb/rpc.proto",
  mvccpb: "etcd/api/mvccpb/kv.proto",
  authpb: "etcd/api/authpb/auth.proto",
  v3lockpb: "etcd/server/etcdserver/api/v3lock/v3lockpb/v3lock.proto",
  v3electionpb: "etcd/server/etcdserver/api/v3election/v3electionpb/v3election.proto",
  "grpc.health.v1": "grpc/health/v1/health.proto",
};

/** Names of enums, which the wire does not need. Those of a message's own are nested in it; `alarm` shares one of the file. */
const enumNames: Record<string, string> = {
  "mvccpb.Event.type": "EventType",
  "authpb.Permission.permType": "Type",
  "etcdserverpb.RangeRequest.sort_order": "SortOrder",
  "etcdserverpb.RangeRequest.sort_target": "SortTarget",
  "etcdserverpb.Compare.result": "CompareResult",
  "etcdserverpb.Compare.target": "CompareTarget",
  "etcdserverpb.WatchCreateRequest.filters": "FilterType",
  "etcdserverpb.AlarmRequest.action": "AlarmAction",
  "etcdserverpb.AlarmRequest.alarm": ".etcdserverpb.AlarmType",
  "etcdserverpb.AlarmMember.alarm": ".etcdserverpb.AlarmType",
  "etcdserverpb.DowngradeRequest.action": "DowngradeAction",
  "grpc.health.v1.HealthCheckResponse.status": "ServingStatus",
};

/** Messages with a oneof: of messages, or of the scalars that may be absent. */
const oneofNames: Record<string, string> = {
  "etcdserverpb.RequestOp": "request",
  "etcdserverpb.ResponseOp": "response",
  "etcdserverpb.Compare": "target_union",
  "etcdserverpb.WatchRequest": "request_union",
};

/** FieldDescriptorProto.Label and .Type. */
const labels = { optional: 1, repeated: 3 };
const messageType = 11;
const types: Record<Scalar, number> = {
  int64: 3,
  lease: 3,
  uint64: 4,
  counter: 4,
  bool: 8,
  string: 9,
  bytes: 12,
  uint32: 13,
  enum: 14,
};

/** The proto files of all services, made from the tables that requests are decoded with. Each comes after what it needs. */
export function describeFiles(): FileDescriptor[] {
  const builder = new FileBuilder();
  for (const service of Object.values(services)) {
    for (const method of Object.values(service)) builder.addMethod(method as MethodDescriptor);
  }
  for (const method of authService) builder.addMethod(method as unknown as MethodDescriptor);
  return builder.inOrder();
}

class FileBuilder {
  readonly #files = new Map<string, FileDescriptor>();
  readonly #known = new Set<string>();

  addMethod({ path, streaming, request, response }: MethodDescriptor): void {
    const [, service, name] = path.split("/") as [string, string, string];
    const file = this.#file(packageOf(service));
    let descriptor = file.service.find((candidate) => candidate.name === lastPart(service));
    if (descriptor === undefined) {
      descriptor = { name: lastPart(service), method: [] };
      file.service.push(descriptor);
    }
    descriptor.method.push({
      name,
      inputType: this.#reference(file, request),
      outputType: this.#reference(file, response),
      clientStreaming: streaming === "bidi",
      serverStreaming: streaming !== "unary",
    });
  }

  inOrder(): FileDescriptor[] {
    const ordered = new Set<FileDescriptor>();
    const add = (file: FileDescriptor): void => {
      for (const name of file.dependency) add([...this.#files.values()].find((other) => other.name === name)!);
      ordered.add(file);
    };
    for (const file of this.#files.values()) add(file);
    return [...ordered];
  }

  #file(packageName: string): FileDescriptor {
    let file = this.#files.get(packageName);
    if (file === undefined) {
      const name = filesOfPackages[packageName] ?? `${packageName}.proto`;
      file = {
        name,
        package: packageName,
        dependency: [],
        messageType: [],
        enumType: [],
        service: [],
        syntax: "proto3",
      };
      this.#files.set(packageName, file);
    }
    return file;
  }

  /** The name to refer to a message by; describes it and all it holds on first use. */
  #reference(from: FileDescriptor, codec: AnyCodec): string {
    const file = this.#file(packageOf(codec.name));
    if (file !== from && !from.dependency.includes(file.name)) from.dependency.push(file.name);
    if (!this.#known.has(codec.name)) {
      this.#known.add(codec.name);
      const descriptor: MessageDescriptor = { name: lastPart(codec.name), field: [], enumType: [], oneofDecl: [] };
      file.messageType.push(descriptor);
      const oneof = oneofNames[codec.name];
      if (oneof !== undefined) descriptor.oneofDecl.push({ name: oneof });
      for (const [key, field] of Object.entries(codec.fields)) {
        descriptor.field.push(this.#describeField(file, descriptor, codec.name, protoName(key, field), field));
      }
    }
    return `.${codec.name}`;
  }

  #describeField(
    file: FileDescriptor,
    owner: MessageDescriptor,
    ownerName: string,
    name: string,
    field: Field,
  ): FieldDescriptor {
    const { number, type, repeated } = field;
    const isMessage = typeof type === "function";
    let typeName = "";
    if (isMessage) typeName = this.#reference(file, type());
    else if (type === "enum") typeName = describeEnum(file, owner, ownerName, name, field.names ?? []);
    return {
      name,
      number,
      label: repeated ? labels.repeated : labels.optional,
      type: isMessage ? messageType : types[type],
      typeName,
      oneofIndex: owner.oneofDecl.length > 0 && (isMessage || field.optional) ? 0 : undefined,
    };
  }
}

/** The name to refer to an enum by; describes it on first use. */
function describeEnum(
  file: FileDescriptor,
  owner: MessageDescriptor,
  ownerName: string,
  fieldName: string,
  valueNames: readonly string[],
): string {
  const told = enumNames[`${ownerName}.${fieldName}`];
  if (told === undefined) throw new Error(`the enum of ${ownerName}.${fieldName} has no name yet`);
  const isShared = told.startsWith(".");
  const enums: EnumDescriptor[] = isShared ? file.enumType : owner.enumType;
  const name = lastPart(told);
  if (!enums.some((known) => known.name === name)) {
    enums.push({ name, value: valueNames.map((value, number) => ({ name: value, number })) });
  }
  return isShared ? told : `.${ownerName}.${name}`;
}

function packageOf(fullName: string): string {
  return fullName.slice(0, fullName.lastIndexOf("."));
}

function lastPart(fullName: string): string {
  return fullName.slice(fullName.lastIndexOf(".") + 1);
}
