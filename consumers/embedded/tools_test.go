package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The command line tools, by the names of their scripts.
var toolClasses = map[string]string{
	"kafka-topics":                    "TopicCommand",
	"kafka-console-producer":          "ConsoleProducer",
	"kafka-console-consumer":          "consumer.ConsoleConsumer",
	"kafka-console-share-consumer":    "consumer.ConsoleShareConsumer",
	"kafka-consumer-groups":           "consumer.group.ConsumerGroupCommand",
	"kafka-share-groups":              "consumer.group.ShareGroupCommand",
	"kafka-streams-groups":            "streams.StreamsGroupCommand",
	"kafka-groups":                    "GroupsCommand",
	"kafka-configs":                   "ConfigCommand",
	"kafka-client-metrics":            "ClientMetricsCommand",
	"kafka-acls":                      "AclCommand",
	"kafka-get-offsets":               "GetOffsetShell",
	"kafka-log-dirs":                  "LogDirsCommand",
	"kafka-transactions":              "TransactionsCommand",
	"kafka-producer-perf-test":        "ProducerPerformance",
	"kafka-consumer-perf-test":        "ConsumerPerformance",
	"kafka-e2e-latency":               "EndToEndLatency",
	"kafka-verifiable-producer":       "VerifiableProducer",
	"kafka-verifiable-consumer":       "VerifiableConsumer",
	"kafka-verifiable-share-consumer": "VerifiableShareConsumer",
	"kafka-broker-api-versions":       "BrokerApiVersionsCommand",
	"kafka-delete-records":            "DeleteRecordsCommand",
	"kafka-leader-election":           "LeaderElectionCommand",
	"kafka-reassign-partitions":       "reassign.ReassignPartitionsCommand",
	"kafka-metadata-quorum":           "MetadataQuorumCommand",
	"kafka-features":                  "FeatureCommand",
	"kafka-cluster":                   "ClusterTool",
	"kafka-streams-application-reset": "StreamsResetter",
	"kafka-delegation-tokens":         "DelegationTokenCommand",
}

// tools are command lines in their order, each with what its output holds. BROKER stands for the
// address, and TMP for a folder with the files that toolFiles names.
var tools = []struct{ line, want string }{
	{"kafka-topics --bootstrap-server BROKER --create --topic t1 --partitions 2 --config retention.ms=100000", "Created topic t1."},
	{"kafka-topics --bootstrap-server BROKER --create --topic t2", "Created topic t2."},
	{"kafka-topics --bootstrap-server BROKER --create --topic t3 --replica-assignment 0,0", "Created topic t3."},
	{"kafka-topics --bootstrap-server BROKER --create --topic t2", "Topic with this name already exists"},
	{"kafka-topics --bootstrap-server BROKER --list", "t1\nt2\nt3\n"},
	{"kafka-topics --bootstrap-server BROKER --describe", "PartitionCount: 4"},
	{"kafka-topics --bootstrap-server BROKER --describe --topic t1", "max.message.bytes=8454144"},
	{"kafka-topics --bootstrap-server BROKER --alter --topic t1 --partitions 3", ""},
	{"kafka-topics --bootstrap-server BROKER --describe --topic t1", "PartitionCount: 3"},
	{"kafka-topics --bootstrap-server BROKER --describe --under-replicated-partitions", ""},
	{"kafka-topics --bootstrap-server BROKER --delete --topic t2", ""},

	{"kafka-console-producer --bootstrap-server BROKER --topic t1 --reader-property parse.key=true", ""},
	{"kafka-console-consumer --bootstrap-server BROKER --topic t1 --from-beginning --max-messages 2 --isolation-level read_committed --group g1 --timeout-ms 20000", "Processed a total of 2 messages"},
	{"kafka-console-consumer --bootstrap-server BROKER --topic t1 --from-beginning --max-messages 2 --command-property group.protocol=consumer --group g2 --timeout-ms 20000", "Processed a total of 2 messages"},
	{"kafka-consumer-groups --bootstrap-server BROKER --list", "g1"},
	{"kafka-consumer-groups --bootstrap-server BROKER --list --state", "Empty"},
	{"kafka-consumer-groups --bootstrap-server BROKER --list --type consumer", "g2"},
	{"kafka-consumer-groups --bootstrap-server BROKER --describe --group g1", "CURRENT-OFFSET"},
	{"kafka-consumer-groups --bootstrap-server BROKER --describe --group g2 --verbose", "LEADER-EPOCH"},
	{"kafka-consumer-groups --bootstrap-server BROKER --describe --all-groups --state", "COORDINATOR"},
	{"kafka-consumer-groups --bootstrap-server BROKER --describe --group g1 --members --verbose", "#PARTITIONS"},
	{"kafka-consumer-groups --bootstrap-server BROKER --reset-offsets --group g1 --topic t1 --to-earliest --execute", "NEW-OFFSET"},
	{"kafka-consumer-groups --bootstrap-server BROKER --reset-offsets --group g1 --topic t1 --to-datetime 2020-01-01T00:00:00.000 --execute", "NEW-OFFSET"},
	{"kafka-consumer-groups --bootstrap-server BROKER --delete-offsets --group g1 --topic t1", "Successful"},
	{"kafka-consumer-groups --bootstrap-server BROKER --delete --group g2", "was successful"},
	{"kafka-groups --bootstrap-server BROKER --list", "Classic"},

	{"kafka-configs --bootstrap-server BROKER --describe --topic t1", "retention.ms=100000"},
	{"kafka-configs --bootstrap-server BROKER --describe --all --topic t1", "retention.bytes=268435456"},
	{"kafka-configs --bootstrap-server BROKER --alter --topic t1 --add-config retention.ms=5000000", "Completed"},
	{"kafka-configs --bootstrap-server BROKER --alter --topic t1 --delete-config retention.ms", "Completed"},
	{"kafka-configs --bootstrap-server BROKER --describe --entity-type brokers --entity-name 0 --all", "message.max.bytes=8454144"},
	{"kafka-configs --bootstrap-server BROKER --alter --entity-type brokers --entity-default --add-config log.retention.ms=-1", "Completed"},
	{"kafka-configs --bootstrap-server BROKER --describe --entity-type brokers --entity-default", "log.retention.ms=-1"},
	{"kafka-configs --bootstrap-server BROKER --alter --entity-type clients --entity-name c1 --add-config producer_byte_rate=1024", "Completed"},
	{"kafka-configs --bootstrap-server BROKER --describe --entity-type clients", "producer_byte_rate=1024"},
	{"kafka-configs --bootstrap-server BROKER --alter --entity-type users --entity-name u1 --add-config SCRAM-SHA-256=[password=pw]", "Completed"},
	{"kafka-configs --bootstrap-server BROKER --describe --entity-type users", "SCRAM-SHA-256=iterations"},
	{"kafka-configs --bootstrap-server BROKER --describe --entity-type groups", "g1"},
	{"kafka-client-metrics --bootstrap-server BROKER --alter --name m --metrics a --interval 1000", "Altered"},
	{"kafka-client-metrics --bootstrap-server BROKER --describe", "interval.ms=1000"},
	{"kafka-acls --bootstrap-server BROKER --add --allow-principal User:a --operation Read --topic t1", "User:a"},
	{"kafka-acls --bootstrap-server BROKER --list", "User:a"},
	{"kafka-acls --bootstrap-server BROKER --remove --force --allow-principal User:a --operation Read --topic t1", ""},

	{"kafka-get-offsets --bootstrap-server BROKER --topic t1", "t1:2:"},
	{"kafka-get-offsets --bootstrap-server BROKER --topic t1 --time max-timestamp", "t1:"},
	{"kafka-get-offsets --bootstrap-server BROKER --topic t1 --time earliest-local", "t1:1:0"},
	{"kafka-log-dirs --bootstrap-server BROKER --describe --topic-list t1", `"partition":"t1-0"`},
	{"kafka-producer-perf-test --bootstrap-server BROKER --topic t1 --num-records 100 --record-size 10 --throughput -1", "100 records sent"},
	{"kafka-producer-perf-test --bootstrap-server BROKER --topic t1 --num-records 100 --record-size 10 --throughput -1 --transactional-id perf --transaction-duration-ms 50", "100 records sent"},
	{"kafka-transactions --bootstrap-server BROKER list", "perf"},
	{"kafka-transactions --bootstrap-server BROKER describe --transactional-id perf", "TransactionTimeoutMs"},
	{"kafka-transactions --bootstrap-server BROKER describe-producers --topic t1 --partition 0", "ProducerEpoch"},
	{"kafka-transactions --bootstrap-server BROKER find-hanging --broker 0", "StartOffset"},
	{"kafka-transactions --bootstrap-server BROKER forceTerminateTransaction --transactionalId perf", ""},
	{"kafka-consumer-perf-test --bootstrap-server BROKER --topic t1 --num-records 50", "data.consumed.in.nMsg"},
	{"kafka-e2e-latency --bootstrap-server BROKER --topic t3 --num-records 5 --producer-acks 1 --record-size 20", "Avg latency"},
	{"kafka-verifiable-producer --bootstrap-server BROKER --topic t3 --max-messages 3", "startup_complete"},
	{"kafka-verifiable-consumer --bootstrap-server BROKER --topic t3 --group-id vc --max-messages 2 --reset-policy earliest", "shutdown_complete"},
	{"kafka-broker-api-versions --bootstrap-server BROKER", "GetTelemetrySubscriptions(71): UNSUPPORTED"},
	{"kafka-delete-records --bootstrap-server BROKER --offset-json-file TMP/delete.json", "low_watermark: 1"},
	{"kafka-leader-election --bootstrap-server BROKER --election-type PREFERRED --topic t1 --partition 0", "t1-0"},
	{"kafka-reassign-partitions --bootstrap-server BROKER --generate --topics-to-move-json-file TMP/topics.json --broker-list 0", "Proposed partition reassignment"},
	{"kafka-reassign-partitions --bootstrap-server BROKER --execute --reassignment-json-file TMP/assignment.json", "Successfully started"},
	{"kafka-reassign-partitions --bootstrap-server BROKER --verify --reassignment-json-file TMP/assignment.json", "is completed"},
	{"kafka-reassign-partitions --bootstrap-server BROKER --list", "No partition reassignments found"},
	{"kafka-features --bootstrap-server BROKER describe", "transaction.version"},
	{"kafka-cluster cluster-id --bootstrap-server BROKER", "millrace-embedded"},
	{"kafka-cluster list-endpoints --bootstrap-server BROKER", "127.0.0.1"},
	{"kafka-streams-application-reset --bootstrap-server BROKER --application-id app --input-topics t1 --force", "Done."},
	{"kafka-streams-groups --bootstrap-server BROKER --list", ""},

	{"kafka-configs --bootstrap-server BROKER --alter --entity-type groups --entity-name sg --add-config share.auto.offset.reset=earliest", "Completed"},
	{"kafka-console-share-consumer --bootstrap-server BROKER --topic t1 --max-messages 2 --timeout-ms 20000 --group sg", "Processed a total of 2 messages"},
	{"kafka-verifiable-share-consumer --bootstrap-server BROKER --topic t3 --group-id vs --max-messages 1 --offset-reset-strategy earliest", "shutdown_complete"},
	{"kafka-share-groups --bootstrap-server BROKER --list", "sg"},
	{"kafka-share-groups --bootstrap-server BROKER --describe --group sg", "START-OFFSET"},
	{"kafka-share-groups --bootstrap-server BROKER --describe --all-groups --state", "COORDINATOR"},
	{"kafka-share-groups --bootstrap-server BROKER --reset-offsets --group sg --topic t1 --to-earliest --execute", "NEW-OFFSET"},
	{"kafka-share-groups --bootstrap-server BROKER --delete --group sg", "was successful"},

	// What the broker does not have is said. deploy/README.md lists it.
	{"kafka-metadata-quorum --bootstrap-server BROKER describe --status", "The node does not support DESCRIBE_QUORUM"},
	{"kafka-delegation-tokens --bootstrap-server BROKER --describe --command-config TMP/empty", "The node does not support DESCRIBE_DELEGATION_TOKEN"},
	{"kafka-cluster unregister --bootstrap-server BROKER --id 7", "does not support the broker unregistration"},
	{"kafka-configs --bootstrap-server BROKER --describe --entity-type broker-loggers --entity-name 0", "InvalidRequestException"},
}

var toolFiles = map[string]string{
	"empty":           "",
	"delete.json":     `{"partitions":[{"topic":"t1","partition":0,"offset":1}],"version":1}`,
	"topics.json":     `{"topics":[{"topic":"t1"}],"version":1}`,
	"assignment.json": `{"version":1,"partitions":[{"topic":"t1","partition":0,"replicas":[0],"log_dirs":["any"]}]}`,
}

// TestApacheTools runs Apache Kafka's own command line tools with the embedded broker, all in one
// JVM. None may meet what it cannot read, whatever else it prints.
func TestApacheTools(t *testing.T) {
	clientsDir(t)
	addr, _ := start(t, testConfig(t))
	tmp := t.TempDir()
	for name, text := range toolFiles {
		require.NoError(t, os.WriteFile(filepath.Join(tmp, name), []byte(text), 0o600))
	}
	var lines strings.Builder
	for i, tool := range tools {
		words := strings.Fields(strings.NewReplacer("BROKER", addr, "TMP", tmp).Replace(tool.line))
		class := toolClasses[words[0]]
		require.NotEmpty(t, class, words[0])
		fmt.Fprintf(&lines, "%d\torg.apache.kafka.tools.%s\t%s\n", i, class, strings.Join(words[1:], "\t"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := java(ctx, "Tools")
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(lines.String()), &out, &out
	require.NoError(t, cmd.Run(), "%s", &out)

	rest := out.String()
	for i, tool := range tools {
		printed, behind, found := strings.Cut(rest, fmt.Sprintf("\n=== %d ", i))
		require.True(t, found, "%s printed no end:\n%s", tool.line, rest)
		status, behind, _ := strings.Cut(behind, "\n")
		rest = behind
		t.Run(strings.ReplaceAll(tool.line, " --bootstrap-server BROKER", ""), func(t *testing.T) {
			require.Contains(t, printed, tool.want)
			require.NotEqual(t, "hangs", status)
			for _, bad := range []string{"NullPointerException", "IllegalArgumentException", "IndexOutOfBounds", "BufferUnderflow", "SchemaException", "serialized as null", "no such tool"} {
				require.NotContains(t, printed+status, bad)
			}
		})
	}
}
