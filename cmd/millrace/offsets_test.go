package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What the message of a lost range prescribes is done word for word: then all that the log
// has is stored once, also what had been stored of the announced range.
func TestLostRangeIsMendedAsItsMessageSays(t *testing.T) {
	const group, topic = "millrace-recorders", "millrace.feedback"
	dir := t.TempDir()
	t.Setenv("MILLRACE_CONFIG", write(t, fmt.Sprintf("models: {repository: %[1]s/models}\nhttp: {addr: ''}\nlog: {format: json}\ntopics: {partitions: 1}\n"+
		"kafka: {session_timeout: 3s}\nrecorder: {flush_interval: 20ms, insert_deadline: 1s}\n"+
		"embedded: {dir: %[1]s/data, kafka_addr: '127.0.0.1:0', clickhouse_addr: '127.0.0.1:0'}\n", dir)))
	dev, _ := background(t, "dev")
	eventually(t, "the services are there", func() bool { return strings.Contains(dev.String(), "Ctrl-C") })
	addrs := regexp.MustCompile(`Kafka +(\S+)\nClickHouse +http://(\S+)`).FindStringSubmatch(dev.String())
	require.Len(t, addrs, 3, dev.String())
	t.Setenv("MILLRACE_KAFKA_BROKERS", addrs[1])
	t.Setenv("MILLRACE_CLICKHOUSE_ADDR", addrs[2])
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs[1]), kgo.DefaultProduceTopic(topic))
	require.NoError(t, err)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	produce := func(from, to int) {
		for i := from; i < to; i++ {
			cl.Produce(t.Context(), &kgo.Record{Value: fmt.Appendf(nil, `{"model":"mine","request_id":"%d","label":1}`, i)}, func(_ *kgo.Record, err error) { require.NoError(t, err) })
		}
		require.NoError(t, cl.Flush(t.Context()))
	}
	rows := func() string {
		resp, err := http.Get("http://" + addrs[2] + "/?query=" + url.QueryEscape("SELECT count(), uniqExact(feedback_topic_id, feedback_offset) FROM millrace.feedback"))
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return strings.TrimSpace(string(body))
	}
	committed := func() (int64, string) {
		offsets, err := adm.FetchOffsets(t.Context(), group)
		if err != nil { // nobody has joined yet
			return 0, ""
		}
		o, _ := offsets.Lookup(topic, 0)
		return o.At, o.Metadata
	}

	produce(0, 300)
	_, end := background(t, "run", "--roles", "recorder")
	eventually(t, "everything is stored and committed", func() bool { at, _ := committed(); return at == 300 })
	running, _, stderr := millrace(t, "offsets", "set", "--group", group, "--topic", topic, "--to", "earliest")
	require.Equal(t, 1, running)
	require.Contains(t, stderr, "group millrace-recorders has 1 members; stop them first")
	end()
	require.Equal(t, "300\t300", rows())

	// It died when it had stored what it had announced, and then the log lost the first half of that.
	_, metadata := committed()
	now := time.Now()
	metadata = strings.Replace(metadata, " at=300 ", " at=100 ", 1) + fmt.Sprintf(" pending=300 announced=%d deadline=%d", now.Add(-time.Second).UnixMicro(), now.UnixMicro())
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: topic, At: 100, LeaderEpoch: -1, Metadata: metadata})
	require.NoError(t, adm.CommitAllOffsets(t.Context(), group, offsets))
	produce(300, 500)
	require.Regexp(t, topic+` +0 +100 +0 +500 +storing up to 300\n`, must(t, "offsets", "show", "--group", group))
	_, err = adm.DeleteRecords(t.Context(), kadm.Offsets{topic: {0: {Topic: topic, At: 200}}})
	require.NoError(t, err)

	prescribed := regexp.MustCompile("`(millrace offsets set [^`]+)`")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var said output
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"run", "--roles", "recorder"}, io.Discard, &said) }() // ends with stop, or by itself
	eventually(t, "it names the lost range", func() bool { return prescribed.MatchString(said.String()) })
	stop()
	<-ended
	require.Contains(t, said.String(), "offset 100 is out of range, the log has 200 to 500")
	line := strings.Fields(prescribed.FindStringSubmatch(said.String())[1])
	require.Equal(t, topic+" partition 0: from 100 to 200\n", must(t, line[1:]...))
	require.Regexp(t, topic+` +0 +200 +200 +500 +unproven: its rows will be looked for\n`, must(t, "offsets", "show", "--group", group, "--topic", topic+":0"))

	_, end = background(t, "run", "--roles", "recorder")
	eventually(t, "the rest is stored and committed", func() bool { at, _ := committed(); return at == 500 })
	end()
	require.Equal(t, "500\t500", rows())

	for to, want := range map[string]int64{
		"earliest": 200, "latest": 500, "321": 321, now.Add(-time.Hour).UTC().Format(time.RFC3339): 200, now.Add(time.Hour).UTC().Format(time.RFC3339): 500,
	} {
		must(t, "offsets", "set", "--group", group, "--topic", topic, "--to", to)
		at, _ := committed()
		require.Equal(t, want, at, to)
	}
	for to, text := range map[string]string{"199": "offset 199 is not in the log, which has 200 to 500", "501": "is not in the log"} {
		code, _, stderr := millrace(t, "offsets", "set", "--group", group, "--topic", topic, "--to", to)
		require.Equal(t, 1, code)
		require.Contains(t, stderr, text)
	}
	code, _, stderr := millrace(t, "offsets", "set", "--group", group, "--topic", topic+":"+strconv.Itoa(7), "--to", "earliest")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "has no partition 7")
}

func TestUsageOfOffsets(t *testing.T) {
	for args, text := range map[string]string{
		"offsets show":                                    "name the group",
		"offsets set --group a --to earliest":             "name the group, the topic and where to",
		"offsets set --group a --topic b --to c":          "--to c: give earliest, latest, an offset, or a time",
		"offsets set --group a --topic b --to -1":         "--to -1",
		"offsets set --group a --topic b:c --to earliest": "write topic or topic:partition",
	} {
		code, _, stderr := millrace(t, strings.Fields(args)...)
		require.Equal(t, 2, code, args)
		require.Contains(t, stderr, text)
	}
}
