import { defineMessage, type MessageType } from "./codec.ts";
import { bool, bytes, counter, message, optional, repeated, string } from "./schema.ts";

/** gRPC server reflection and the descriptors it carries. Source: grpc/reflection/v1/reflection.proto, google/protobuf/descriptor.proto. */

const enumValue = defineMessage("google.protobuf.EnumValueDescriptorProto", {
  name: string(1),
  // proto2: a number that is not sent is not there, 0 included.
  number: optional(counter(2)),
});

const enumDescriptor = defineMessage("google.protobuf.EnumDescriptorProto", {
  name: string(1),
  value: repeated(message(2, () => enumValue)),
});
export type EnumDescriptor = MessageType<typeof enumDescriptor>;

const fieldDescriptor = defineMessage("google.protobuf.FieldDescriptorProto", {
  name: string(1),
  number: counter(3),
  label: counter(4),
  type: counter(5),
  typeName: string(6),
  oneofIndex: optional(counter(9)),
});
export type FieldDescriptor = MessageType<typeof fieldDescriptor>;

const oneofDescriptor = defineMessage("google.protobuf.OneofDescriptorProto", { name: string(1) });

const messageDescriptor = defineMessage("google.protobuf.DescriptorProto", {
  name: string(1),
  field: repeated(message(2, () => fieldDescriptor)),
  enumType: repeated(message(4, () => enumDescriptor)),
  oneofDecl: repeated(message(8, () => oneofDescriptor)),
});
export type MessageDescriptor = MessageType<typeof messageDescriptor>;

const rpcDescriptor = defineMessage("google.protobuf.MethodDescriptorProto", {
  name: string(1),
  inputType: string(2),
  outputType: string(3),
  clientStreaming: bool(5),
  serverStreaming: bool(6),
});

const serviceDescriptor = defineMessage("google.protobuf.ServiceDescriptorProto", {
  name: string(1),
  method: repeated(message(2, () => rpcDescriptor)),
});

export const fileDescriptor = defineMessage("google.protobuf.FileDescriptorProto", {
  name: string(1),
  package: string(2),
  dependency: repeated(string(3)),
  messageType: repeated(message(4, () => messageDescriptor)),
  enumType: repeated(message(5, () => enumDescriptor)),
  service: repeated(message(6, () => serviceDescriptor)),
  syntax: string(12),
});
export type FileDescriptor = MessageType<typeof fileDescriptor>;

export const reflectionRequest = defineMessage("grpc.reflection.v1.ServerReflectionRequest", {
  host: string(1),
  fileByFilename: optional(string(3)),
  fileContainingSymbol: optional(string(4)),
  fileContainingExtension: optional(bytes(5)),
  allExtensionNumbersOfType: optional(string(6)),
  listServices: optional(string(7)),
});

const fileDescriptorResponse = defineMessage("grpc.reflection.v1.FileDescriptorResponse", {
  fileDescriptorProto: repeated(bytes(1)),
});
const serviceResponse = defineMessage("grpc.reflection.v1.ServiceResponse", { name: string(1) });
const listServiceResponse = defineMessage("grpc.reflection.v1.ListServiceResponse", {
  service: repeated(message(1, () => serviceResponse)),
});
const errorResponse = defineMessage("grpc.reflection.v1.ErrorResponse", {
  errorCode: counter(1),
  errorMessage: string(2),
});

export const reflectionResponse = defineMessage("grpc.reflection.v1.ServerReflectionResponse", {
  validHost: string(1),
  originalRequest: message(2, () => reflectionRequest),
  fileDescriptorResponse: message(4, () => fileDescriptorResponse),
  listServicesResponse: message(6, () => listServiceResponse),
  errorResponse: message(7, () => errorResponse),
});
