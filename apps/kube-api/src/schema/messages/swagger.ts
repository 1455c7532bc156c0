/**
 * An OpenAPI v2 document in protobuf, as far as ours has fields; the list names are ours, the numbers gnostic's.
 * Source: gnostic's published openapiv2 messages. Syntax: see ../message.ts.
 */
export const swaggerMessages = `
[swagger]
Any = yaml:2:string
Definitions = entries:1:[]NamedSchema
Document = swagger:1:string info:2:Info paths:8:Paths definitions:9:Definitions
Info = title:1:string version:2:string
Items = schema:1:[]Schema
MapValue = schema:1:Schema
NamedAny = name:1:string value:2:Any
NamedPathItem = name:1:string value:2:PathItem
NamedResponse = name:1:string value:2:ResponseChoice
NamedSchema = name:1:string value:2:Schema
NonBodyParameter = query:3:QueryParameter path:4:PathParameter
Operation = operationId:5:string parameters:8:[]ParameterChoice responses:9:Responses extensions:13:[]NamedAny
Parameter = nonBody:2:NonBodyParameter
ParameterChoice = parameter:1:Parameter
PathItem = get:2:Operation put:3:Operation post:4:Operation delete:5:Operation patch:8:Operation
PathParameter = required:1:bool in:2:string name:4:string type:5:string
Paths = path:2:[]NamedPathItem
Properties = entries:1:[]NamedSchema
QueryParameter = required:1:bool in:2:string name:4:string type:6:string
Response = description:1:string
ResponseChoice = response:1:Response
Responses = code:1:[]NamedResponse
Schema = $ref:1:string format:2:string additionalProperties:21:MapValue type:22:Type items:23:Items
    properties:25:Properties extensions:31:[]NamedAny
Type = value:1:[]string
`;
