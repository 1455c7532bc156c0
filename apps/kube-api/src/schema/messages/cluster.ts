/** Messages of the groups that describe the cluster: network, nodes, storage, leases, events. Source: the published k8s.io/api types. Syntax: see ../message.ts. */
export const clusterMessages = `
[coordination]
Lease = metadata:1:meta.ObjectMeta spec:2:LeaseSpec
LeaseSpec = holderIdentity:1:string leaseDurationSeconds:2:int32! acquireTime:3:MicroTime renewTime:4:MicroTime
    leaseTransitions:5:int32! strategy:6:string preferredHolder:7:string
[discovery]
Endpoint = addresses:1:[]string conditions:2:EndpointConditions hostname:3:string targetRef:4:core.ObjectReference
    deprecatedTopology:5:map<string> nodeName:6:string zone:7:string hints:8:EndpointHints
EndpointConditions = ready:1:bool! serving:2:bool! terminating:3:bool!
EndpointHints = forZones:1:[]ForZone
EndpointPort = name:1:string protocol:2:string port:3:int32! appProtocol:4:string
EndpointSlice = metadata:1:meta.ObjectMeta addressType:4:string endpoints:2:[]Endpoint ports:3:[]EndpointPort
ForZone = name:1:string
[discovery-v1beta1]
Endpoint = addresses:1:[]string conditions:2:EndpointConditions hostname:3:string targetRef:4:core.ObjectReference
    topology:5:map<string> nodeName:6:string hints:7:EndpointHints
EndpointConditions = ready:1:bool! serving:2:bool! terminating:3:bool!
EndpointHints = forZones:1:[]ForZone
EndpointPort = name:1:string protocol:2:string port:3:int32! appProtocol:4:string
EndpointSlice = metadata:1:meta.ObjectMeta addressType:4:string endpoints:2:[]Endpoint ports:3:[]EndpointPort
ForZone = name:1:string
[events]
Event = metadata:1:meta.ObjectMeta eventTime:2:MicroTime series:3:EventSeries reportingController:4:string
    reportingInstance:5:string action:6:string reason:7:string regarding:8:core.ObjectReference
    related:9:core.ObjectReference note:10:string type:11:string deprecatedSource:12:core.EventSource
    deprecatedFirstTimestamp:13:Time deprecatedLastTimestamp:14:Time deprecatedCount:15:int32
EventSeries = count:1:int32! lastObservedTime:2:MicroTime
[networking]
HTTPIngressPath = path:1:string pathType:3:string backend:2:IngressBackend
HTTPIngressRuleValue = paths:1:[]HTTPIngressPath
IPBlock = cidr:1:string except:2:[]string
Ingress = metadata:1:meta.ObjectMeta spec:2:IngressSpec status:3:IngressStatus
IngressBackend = service:4:IngressServiceBackend resource:3:core.TypedLocalObjectReference
IngressClass = metadata:1:meta.ObjectMeta spec:2:IngressClassSpec
IngressClassParametersReference = apiGroup:1:string kind:2:string name:3:string scope:4:string namespace:5:string
IngressClassSpec = controller:1:string parameters:2:IngressClassParametersReference
IngressLoadBalancerIngress = ip:1:string hostname:2:string ports:4:[]IngressPortStatus
IngressLoadBalancerStatus = ingress:1:[]IngressLoadBalancerIngress
IngressPortStatus = port:1:int32! protocol:2:string error:3:string
IngressRule = host:1:string ~:2:IngressRuleValue
IngressRuleValue = http:1:HTTPIngressRuleValue
IngressServiceBackend = name:1:string port:2:ServiceBackendPort
IngressSpec = ingressClassName:4:string defaultBackend:1:IngressBackend tls:2:[]IngressTLS rules:3:[]IngressRule
IngressStatus = loadBalancer:1:IngressLoadBalancerStatus
IngressTLS = hosts:1:[]string secretName:2:string
NetworkPolicy = metadata:1:meta.ObjectMeta spec:2:NetworkPolicySpec
NetworkPolicyEgressRule = ports:1:[]NetworkPolicyPort@port to:2:[]NetworkPolicyPeer
NetworkPolicyIngressRule = ports:1:[]NetworkPolicyPort@port from:2:[]NetworkPolicyPeer
NetworkPolicyPeer = podSelector:1:meta.LabelSelector namespaceSelector:2:meta.LabelSelector ipBlock:3:IPBlock
NetworkPolicyPort = protocol:1:string port:2:IntOrString endPort:3:int32!
NetworkPolicySpec = podSelector:1:meta.LabelSelector ingress:2:[]NetworkPolicyIngressRule
    egress:3:[]NetworkPolicyEgressRule policyTypes:4:[]string
ServiceBackendPort = name:1:string number:2:int32
[node]
Overhead = podFixed:1:map<Quantity>
RuntimeClass = metadata:1:meta.ObjectMeta handler:2:string overhead:3:Overhead scheduling:4:Scheduling
Scheduling = nodeSelector:1:map<string> tolerations:2:[]core.Toleration
[node-v1beta1]
Overhead = podFixed:1:map<Quantity>
RuntimeClass = metadata:1:meta.ObjectMeta handler:2:string overhead:3:Overhead scheduling:4:Scheduling
Scheduling = nodeSelector:1:map<string> tolerations:2:[]core.Toleration
[scheduling]
PriorityClass = metadata:1:meta.ObjectMeta value:2:int32! globalDefault:3:bool description:4:string
    preemptionPolicy:5:string
[storage]
CSIDriver = metadata:1:meta.ObjectMeta spec:2:CSIDriverSpec
CSIDriverSpec = attachRequired:1:bool! podInfoOnMount:2:bool! volumeLifecycleModes:3:[]string storageCapacity:4:bool!
    fsGroupPolicy:5:string tokenRequests:6:[]TokenRequest requiresRepublish:7:bool! seLinuxMount:8:bool!
CSINode = metadata:1:meta.ObjectMeta spec:2:CSINodeSpec
CSINodeDriver = name:1:string nodeID:2:string topologyKeys:3:[]string allocatable:4:VolumeNodeResources
CSINodeSpec = drivers:1:[]CSINodeDriver@name
CSIStorageCapacity = metadata:1:meta.ObjectMeta nodeTopology:2:meta.LabelSelector storageClassName:3:string
    capacity:4:Quantity maximumVolumeSize:5:Quantity
StorageClass = metadata:1:meta.ObjectMeta provisioner:2:string parameters:3:map<string> reclaimPolicy:4:string
    mountOptions:5:[]string allowVolumeExpansion:6:bool! volumeBindingMode:7:string
    allowedTopologies:8:[]core.TopologySelectorTerm
TokenRequest = audience:1:string expirationSeconds:2:int64!
VolumeAttachment = metadata:1:meta.ObjectMeta spec:2:VolumeAttachmentSpec status:3:VolumeAttachmentStatus
VolumeAttachmentSource = persistentVolumeName:1:string inlineVolumeSpec:2:core.PersistentVolumeSpec
VolumeAttachmentSpec = attacher:1:string source:2:VolumeAttachmentSource nodeName:3:string
VolumeAttachmentStatus = attached:1:bool! attachmentMetadata:2:map<string> attachError:3:VolumeError
    detachError:4:VolumeError
VolumeError = time:1:Time message:2:string
VolumeNodeResources = count:1:int32!
`;
