package embedded_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/millrace/millrace/consumers/embedded"
)

// mayBeNull are the fields that Apache Kafka's own answers leave null, by the end of their path:
// they are nullable in the protocol, and its clients are prepared for it.
var mayBeNull = []string{
	".ErrorMessage", ".AcknowledgeErrorMessage", // there was no error
	".Members.InstanceID",                                         // of a member that is not static
	".Configs.Documentation", ".Configs.Value", ".Synonyms.Value", // there is none
	".Entity.Name",                                     // the default of all
	".NextCursor",                                      // there is no more
	".Partitions.Metadata",                             // nothing was committed
	".Partitions.AbortedTransactions",                  // there are none
	"MetadataResponse.Topics.Topic",                    // asked for by an id that is none
	".Members.RackID", ".Members.SubscribedTopicRegex", // a member without them
}

// elsewhere are the keys that the walk does not ask, since all that the tests do with the broker is
// done by them, or since no client reads more of their answers than a code.
var elsewhere = []kmsg.Key{
	kmsg.Produce, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.LeaveGroup, kmsg.OffsetCommit,
	kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.EndTxn, kmsg.TxnOffsetCommit, kmsg.WriteTxnMarkers, kmsg.InitProducerID,
	kmsg.OffsetForLeaderEpoch, kmsg.SASLHandshake, kmsg.SASLAuthenticate, kmsg.AlterReplicaLogDirs,
	kmsg.ConsumerGroupHeartbeat, kmsg.ShareGroupHeartbeat, kmsg.ShareAcknowledge, kmsg.OffsetDelete,
}

// TestAnswersHoldNoNulls asks for everything that the broker serves, in its newest and in older
// versions, and finds no null that a client is not prepared for. What a later kfake serves is to
// be added here: the test fails until it is asked for.
func TestAnswersHoldNoNulls(t *testing.T) {
	addr, _ := start(t, testConfig(t))
	fill(t, addr)
	for name, versions := range map[string]*kversion.Versions{"newest": nil, "Kafka 2.8": kversion.V2_8_0(), "Kafka 3.7": kversion.V3_7_0()} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, addr, kgo.MaxVersions(versions))
			if versions == nil {
				client = newClient(t, addr)
			}
			served, err := kmsg.NewPtrApiVersionsRequest().RequestWith(t.Context(), client)
			require.NoError(t, err)
			require.Empty(t, nulls(served))
			left := map[kmsg.Key]bool{}
			for _, k := range served.ApiKeys {
				left[kmsg.Key(k.ApiKey)] = versions == nil || versions.HasKey(k.ApiKey)
			}
			for _, key := range append(elsewhere, kmsg.ApiVersions) {
				delete(left, key)
			}
			for i, req := range everyRequest(t, client) {
				key := kmsg.Key(req.Key())
				if versions != nil && !versions.HasKey(req.Key()) {
					continue
				}
				resp, err := client.Request(t.Context(), req)
				require.NoError(t, err, "%d: %s", i, key.Name())
				require.Empty(t, nulls(resp), "%s version %d", key.Name(), resp.GetVersion())
				delete(left, key)
			}
			for key, asked := range left {
				require.False(t, asked, "%s is served, and no request of this test is for it", key.Name())
			}
		})
	}
}

// nulls returns the paths of all nulls in an answer but those that may be, and of sources of
// configurations that are none. A null list is one whose answer would be written otherwise if
// the list was empty.
func nulls(resp kmsg.Response) []string {
	var found []string
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() {
				found = append(found, path)
				return
			}
			walk(path, v.Elem())
		case reflect.Struct:
			for i := range v.NumField() {
				f := v.Type().Field(i)
				if f.Name == "Source" && v.Field(i).Int() < 0 {
					found = append(found, path+".Source")
				}
				if f.IsExported() {
					walk(path+"."+f.Name, v.Field(i))
				}
			}
		case reflect.Slice:
			if v.IsNil() {
				null := resp.AppendTo(nil)
				v.Set(reflect.MakeSlice(v.Type(), 0, 0))
				if string(resp.AppendTo(nil)) != string(null) {
					found = append(found, path)
				}
			}
			if v.Type().Elem().Kind() == reflect.Struct {
				for i := range v.Len() {
					walk(path, v.Index(i))
				}
			}
		default:
		}
	}
	walk(reflect.TypeOf(resp).Elem().Name(), reflect.ValueOf(resp).Elem())
	return slices.DeleteFunc(found, func(path string) bool {
		return slices.ContainsFunc(mayBeNull, func(end string) bool { return strings.HasSuffix(path, end) })
	})
}

// fill gives the broker something to tell of: topics, records, a group with offsets and a member,
// groups of the newer protocols, an open transaction.
func fill(t *testing.T, addr string) {
	t.Helper()
	client := newClient(t, addr)
	createTopic(t, client, 2, "plain", nil)
	createTopic(t, client, 1, "configured", map[string]string{"retention.ms": "1000000"})
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "plain", Value: []byte("a")}).FirstErr())
	member := newClient(t, addr, kgo.ConsumerGroup("classic"), kgo.ConsumeTopics("plain"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	poll(t, member, 1)
	require.NoError(t, member.CommitUncommittedOffsets(t.Context()))
	open := newClient(t, addr, kgo.TransactionalID("open"))
	require.NoError(t, open.BeginTransaction())
	require.NoError(t, open.ProduceSync(t.Context(), &kgo.Record{Topic: "plain", Value: []byte("open")}).FirstErr())
	for _, req := range []kmsg.Request{
		&kmsg.ConsumerGroupHeartbeatRequest{Group: "consumer", MemberID: "m", RebalanceTimeoutMillis: 1000, SubscribedTopicNames: []string{"plain"}, Topics: []kmsg.ConsumerGroupHeartbeatRequestTopic{}},
		&kmsg.ShareGroupHeartbeatRequest{GroupID: "share", MemberID: "m", SubscribedTopicNames: []string{"plain"}},
	} {
		_, err := client.Request(t.Context(), req)
		require.NoError(t, err)
	}
}

// everyRequest asks for what fill has made, and last for what does not exist.
func everyRequest(t *testing.T, client *kgo.Client) []kmsg.Request {
	t.Helper()
	listed, err := kadm.NewClient(client).ListTopics(t.Context(), "plain")
	require.NoError(t, err)
	id := listed["plain"].ID
	name := fmt.Sprintf("made-%p", client)
	described := func(kind kmsg.ConfigResourceType, name string) kmsg.DescribeConfigsRequestResource {
		return kmsg.DescribeConfigsRequestResource{ResourceType: kind, ResourceName: name}
	}
	user := kmsg.AlterUserSCRAMCredentialsRequestUpsertion{Name: "user", Mechanism: 1, Iterations: 4096, Salt: []byte("salt"), SaltedPassword: []byte("password")}
	acl := kmsg.CreateACLsRequestCreation{
		ResourceType: kmsg.ACLResourceTypeTopic, ResourceName: "plain", ResourcePatternType: kmsg.ACLResourcePatternTypeLiteral,
		Principal: "User:a", Host: "*", Operation: kmsg.ACLOperationRead, PermissionType: kmsg.ACLPermissionTypeAllow,
	}
	quota := kmsg.AlterClientQuotasRequestEntry{
		Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "client-id"}}, // the default of all clients
		Ops:    []kmsg.AlterClientQuotasRequestEntryOp{{Key: "producer_byte_rate", Value: 1e9}},
	}
	return []kmsg.Request{
		&kmsg.MetadataRequest{},
		&kmsg.MetadataRequest{Topics: []kmsg.MetadataRequestTopic{{Topic: new("plain")}, {Topic: new("none")}}},
		&kmsg.DescribeClusterRequest{EndpointType: 1},
		&kmsg.FindCoordinatorRequest{CoordinatorKey: "classic", CoordinatorKeys: []string{"classic"}},
		&kmsg.ListOffsetsRequest{ReplicaID: -1, Topics: []kmsg.ListOffsetsRequestTopic{{Topic: "plain", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Timestamp: -1, CurrentLeaderEpoch: -1}}}}},
		&kmsg.FetchRequest{ReplicaID: -1, MaxBytes: 1 << 20, Topics: []kmsg.FetchRequestTopic{{Topic: "plain", TopicID: id, Partitions: []kmsg.FetchRequestTopicPartition{{CurrentLeaderEpoch: -1, PartitionMaxBytes: 1 << 20}}}}},
		&kmsg.OffsetFetchRequest{Group: "classic", Groups: []kmsg.OffsetFetchRequestGroup{{Group: "classic", MemberEpoch: -1}}},
		&kmsg.ListGroupsRequest{},
		&kmsg.DescribeGroupsRequest{Groups: []string{"classic", "none"}},
		&kmsg.ConsumerGroupDescribeRequest{Groups: []string{"consumer", "none"}},
		&kmsg.ShareGroupDescribeRequest{GroupIDs: []string{"share", "none"}},
		&kmsg.DescribeShareGroupOffsetsRequest{Groups: []kmsg.DescribeShareGroupOffsetsRequestGroup{{GroupID: "share"}, {GroupID: "none"}}},
		&kmsg.ShareFetchRequest{GroupID: new("share"), MemberID: new("m"), MaxBytes: 1 << 20, BatchSize: 100, MaxRecords: 100, Topics: []kmsg.ShareFetchRequestTopic{{TopicID: id, Partitions: []kmsg.ShareFetchRequestTopicPartition{{PartitionMaxBytes: 1 << 20}}}}},
		&kmsg.AlterShareGroupOffsetsRequest{GroupID: "none", Topics: []kmsg.AlterShareGroupOffsetsRequestTopic{{Topic: "plain"}}},
		&kmsg.DeleteShareGroupOffsetsRequest{GroupID: "none", Topics: []kmsg.DeleteShareGroupOffsetsRequestTopic{{Topic: "plain"}}},
		&kmsg.ListTransactionsRequest{DurationFilterMillis: -1},
		&kmsg.DescribeTransactionsRequest{TransactionalIDs: []string{"open", "none"}},
		&kmsg.DescribeProducersRequest{Topics: []kmsg.DescribeProducersRequestTopic{{Topic: "plain", Partitions: []int32{0, 1}}}},
		&kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 100},
		&kmsg.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 100, Topics: []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "none"}}},
		&kmsg.ListConfigResourcesRequest{},
		&kmsg.DescribeConfigsRequest{IncludeSynonyms: true, Resources: []kmsg.DescribeConfigsRequestResource{
			described(kmsg.ConfigResourceTypeTopic, "plain"), described(kmsg.ConfigResourceTypeTopic, "configured"), described(kmsg.ConfigResourceTypeTopic, "none"),
			described(kmsg.ConfigResourceTypeBroker, "0"), described(kmsg.ConfigResourceTypeBroker, ""), described(kmsg.ConfigResourceTypeGroupConfig, "classic"),
		}},
		&kmsg.DescribeLogDirsRequest{},
		&kmsg.AlterClientQuotasRequest{Entries: []kmsg.AlterClientQuotasRequestEntry{quota}},
		&kmsg.DescribeClientQuotasRequest{},
		&kmsg.DescribeClientQuotasRequest{Components: []kmsg.DescribeClientQuotasRequestComponent{{EntityType: "user", Match: new("none")}}},
		&kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{user}},
		&kmsg.DescribeUserSCRAMCredentialsRequest{},
		&kmsg.DescribeUserSCRAMCredentialsRequest{Users: []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: "none"}}},
		&kmsg.CreateACLsRequest{Creations: []kmsg.CreateACLsRequestCreation{acl}},
		&kmsg.DescribeACLsRequest{ResourceType: kmsg.ACLResourceTypeAny, ResourcePatternType: kmsg.ACLResourcePatternTypeAny, Operation: kmsg.ACLOperationAny, PermissionType: kmsg.ACLPermissionTypeAny},
		&kmsg.DeleteACLsRequest{Filters: []kmsg.DeleteACLsRequestFilter{{ResourceType: kmsg.ACLResourceTypeAny, ResourcePatternType: kmsg.ACLResourcePatternTypeAny, Operation: kmsg.ACLOperationAny, PermissionType: kmsg.ACLPermissionTypeAny}}},
		&kmsg.CreateTopicsRequest{Topics: []kmsg.CreateTopicsRequestTopic{{Topic: name, NumPartitions: 1, ReplicationFactor: 1, Configs: []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms", Value: new("1")}}}, {Topic: "plain", NumPartitions: 1, ReplicationFactor: 1}}},
		&kmsg.CreateTopicsRequest{Topics: []kmsg.CreateTopicsRequestTopic{{Topic: name + "-plain", NumPartitions: -1, ReplicationFactor: -1}}},
		&kmsg.CreatePartitionsRequest{Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: name, Count: 2}, {Topic: "none", Count: 2}}},
		&kmsg.IncrementalAlterConfigsRequest{Resources: []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name, Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: new("2")}}}}},
		&kmsg.AlterConfigsRequest{Resources: []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name}}},
		&kmsg.ElectLeadersRequest{},
		&kmsg.AlterPartitionAssignmentsRequest{Topics: []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: name, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: []int32{0}}}}}},
		&kmsg.ListPartitionReassignmentsRequest{},
		&kmsg.UpdateFeaturesRequest{},
		&kmsg.DeleteRecordsRequest{Topics: []kmsg.DeleteRecordsRequestTopic{{Topic: name, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: -1}}}}},
		&kmsg.DeleteTopicsRequest{TopicNames: []string{name}, Topics: []kmsg.DeleteTopicsRequestTopic{{Topic: &name}, {Topic: new("none")}}},
		&kmsg.DeleteGroupsRequest{Groups: []string{"none"}},
	}
}

// TestTopicsAsKafkaDescribesThem: what a topic does not configure is shown as the broker's
// default, and is no override of the topic.
func TestTopicsAsKafkaDescribesThem(t *testing.T) {
	cfg := testConfig(t)
	addr, _ := start(t, cfg)
	client := newClient(t, addr)
	createTopic(t, client, 1, "topic", map[string]string{"retention.bytes": "1000"})
	described, err := kadm.NewClient(client).DescribeTopicConfigs(t.Context(), "topic")
	require.NoError(t, err)
	shown := map[string]string{}
	for _, c := range described[0].Configs {
		shown[c.Key] = c.MaybeValue() + " " + c.Source.String()
	}
	require.Equal(t, "1000 DYNAMIC_TOPIC_CONFIG", shown["retention.bytes"])
	require.Equal(t, fmt.Sprint(cfg.MaxMessageBytes, " STATIC_BROKER_CONFIG"), shown["max.message.bytes"])
	require.Equal(t, "-1 STATIC_BROKER_CONFIG", shown["retention.ms"])
	require.NotContains(t, shown, "message.max.bytes")
	require.NotContains(t, shown, "log.retention.bytes")
}

// TestListsAsJavaAsksForThem: groups by types whose names begin with a capital, and the users
// of an empty list, which are all.
func TestListsAsJavaAsksForThem(t *testing.T) {
	addr, _ := start(t, testConfig(t))
	fill(t, addr)
	client := newClient(t, addr)
	for filter, want := range map[string]string{"Classic": "classic", "Consumer": "consumer", "Share": "share"} {
		resp, err := (&kmsg.ListGroupsRequest{TypesFilter: []string{filter}}).RequestWith(t.Context(), client)
		require.NoError(t, err)
		require.Len(t, resp.Groups, 1)
		require.Equal(t, want, resp.Groups[0].Group)
	}
	user := kmsg.AlterUserSCRAMCredentialsRequestUpsertion{Name: "user", Mechanism: 1, Iterations: 4096, Salt: []byte("salt"), SaltedPassword: []byte("password")}
	_, err := (&kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{user}}).RequestWith(t.Context(), client)
	require.NoError(t, err)
	users, err := (&kmsg.DescribeUserSCRAMCredentialsRequest{Users: []kmsg.DescribeUserSCRAMCredentialsRequestUser{}}).RequestWith(t.Context(), client)
	require.NoError(t, err)
	require.Len(t, users.Results, 1)
}

// TestTopicsThatAreGoneInOneRequest: each is answered.
func TestTopicsThatAreGoneInOneRequest(t *testing.T) {
	addr, _ := start(t, testConfig(t))
	client := newClient(t, addr)
	req := kmsg.ProduceRequest{Acks: -1, TimeoutMillis: 1000}
	for i := range byte(3) {
		req.Topics = append(req.Topics, kmsg.ProduceRequestTopic{TopicID: [16]byte{1, i}, Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: 0}, {Partition: 1}}})
	}
	resp, err := req.RequestWith(t.Context(), client.Broker(0))
	require.NoError(t, err)
	require.GreaterOrEqual(t, resp.Version, int16(13))
	require.Len(t, resp.Topics, 3)
	for _, topic := range resp.Topics {
		require.Len(t, topic.Partitions, 2)
		for _, p := range topic.Partitions {
			require.ErrorIs(t, kerr.ErrorForCode(p.ErrorCode), kerr.UnknownTopicID)
		}
	}
}

// TestNoTelemetry: no version of the first request of a connection offers it, also not the one
// that the broker does not know and answers in version 0.
func TestNoTelemetry(t *testing.T) {
	addr, _ := start(t, testConfig(t))
	for _, version := range []int16{0, 1, 2, 3, 4, 5, 99} {
		req := &kmsg.ApiVersionsRequest{Version: version, ClientSoftwareName: "test", ClientSoftwareVersion: "1", NodeID: -1}
		resp := &kmsg.ApiVersionsResponse{Version: version}
		if version == 99 {
			resp.Version = 0
		}
		conn := connect(t, addr)
		_, err := conn.Write(frame(req, 7))
		require.NoError(t, err)
		readAnswer(t, conn, resp, 7)
		for _, k := range resp.ApiKeys {
			require.NotContains(t, []kmsg.Key{kmsg.GetTelemetrySubscriptions, kmsg.PushTelemetry}, kmsg.Key(k.ApiKey), "version %d", version)
		}
		require.NotEmpty(t, resp.ApiKeys)
	}
}

// TestRequestsInPieces: answers are amended however a request arrives, byte by byte or with others
// in one piece.
func TestRequestsInPieces(t *testing.T) {
	addr, _ := start(t, testConfig(t))
	create := func(topic string) *kmsg.CreateTopicsRequest {
		return &kmsg.CreateTopicsRequest{Version: 7, TimeoutMillis: 1000, Topics: []kmsg.CreateTopicsRequestTopic{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}}}
	}
	made := func(conn net.Conn, correlation int32) {
		resp := &kmsg.CreateTopicsResponse{Version: 7}
		readAnswer(t, conn, resp, correlation)
		require.Zero(t, resp.Topics[0].ErrorCode)
		require.NotNil(t, resp.Topics[0].Configs)
	}
	conn := connect(t, addr)
	for _, b := range frame(create("bytes"), 1) {
		_, err := conn.Write([]byte{b})
		require.NoError(t, err)
	}
	made(conn, 1)

	metadata := &kmsg.MetadataRequest{Version: 12}
	together := slices.Concat(frame(create("first"), 2), frame(metadata, 3), frame(create("second"), 4))
	_, err := conn.Write(together)
	require.NoError(t, err)
	made(conn, 2)
	readAnswer(t, conn, &kmsg.MetadataResponse{Version: 12}, 3)
	made(conn, 4)
}

// TestOtherProtocols: a connection on which something else is spoken is closed, and the broker
// goes on. It would allocate what is announced, and end at a key that it does not know.
func TestOtherProtocols(t *testing.T) {
	addr, _ := start(t, testConfig(t))
	for name, bytes := range map[string]string{
		"HTTP":         "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"TLS":          "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"too short":    "\x00\x00\x00\x07\x00\x12\x00\x00\x00\x00\x00",
		"negative":     "\xff\xff\xff\xff\x00\x12\x00\x00\x00\x00\x00\x00",
		"unknown key":  "\x00\x00\x00\x0a\x27\x0f\x00\x00\x00\x00\x00\x01\xff\xff",
		"negative key": "\x00\x00\x00\x0a\xff\xff\x00\x00\x00\x00\x00\x01\xff\xff",
		"empty body":   "\x00\x00\x00\x0a\x00\x13\x00\x07\x00\x00\x00\x01\xff\xff",
	} {
		conn := connect(t, addr)
		_, err := conn.Write([]byte(bytes))
		require.NoError(t, err, name)
		_, err = conn.Read(make([]byte, 1))
		require.Error(t, err, name)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, name)
	}
	require.NoError(t, embedded.Ping(t.Context(), addr))
}

func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	return conn
}

// frame writes a request as clients do, without a client id.
func frame(req kmsg.Request, correlation int32) []byte {
	b := kmsg.NewRequestFormatter().AppendRequest(nil, req, correlation)
	return b
}

func readAnswer(t *testing.T, conn net.Conn, resp kmsg.Response, correlation int32) {
	t.Helper()
	head := make([]byte, 8)
	_, err := io.ReadFull(conn, head)
	require.NoError(t, err)
	require.EqualValues(t, correlation, binary.BigEndian.Uint32(head[4:]))
	body := make([]byte, binary.BigEndian.Uint32(head)-4)
	_, err = io.ReadFull(conn, body)
	require.NoError(t, err)
	if resp.IsFlexible() && kmsg.Key(resp.Key()) != kmsg.ApiVersions {
		require.Zero(t, body[0])
		body = body[1:]
	}
	require.NoError(t, resp.ReadFrom(body))
}
