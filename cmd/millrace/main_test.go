package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/pipeline/services"
	"github.com/millrace/millrace/pipeline/supervisor"
)

func TestMain(m *testing.M) {
	if isChild, code := services.RunChild(os.Args[1:], os.Stderr); isChild {
		os.Exit(code)
	}
	// Children that are built with the race detector would wait a second at their end.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		http.DefaultClient.CloseIdleConnections()
		os.Exit(code)
	}))
}

// output is what a command writes; it may be read meanwhile.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// millrace runs a command line to its end.
func millrace(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs output
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// must runs a command line that has to succeed, and returns what it writes.
func must(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := millrace(t, args...)
	require.Equal(t, 0, code, "millrace %s: %s", strings.Join(args, " "), stderr)
	return stdout
}

// background starts a command line that runs until the returned function ends it, as the
// test's end does, and fails when its exit code is not 0.
func background(t *testing.T, args ...string) (stdout *output, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var out, errs output
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, args, &out, &errs) }() // ends with cancel
	end = sync.OnceFunc(func() {
		cancel()
		require.Equal(t, 0, <-ended, "millrace %s: %s", strings.Join(args, " "), errs.String())
	})
	t.Cleanup(end)
	return &out, end
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		require.True(t, time.Now().Before(deadline), "waiting until %s", what)
		<-time.After(10 * time.Millisecond)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const nowhere = "kafka.brokers=127.0.0.1:1"

func TestExitCodes(t *testing.T) {
	empty := t.TempDir()
	const stored = " --from 2024-01-01T00:00:00Z --to 2024-02-01T00:00:00Z"
	for name, tc := range map[string]struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		"no command":             {"", 0, "Available Commands", ""},
		"help":                   {"--help", 0, "deadletters", ""},
		"help of a command":      {"run --help", 0, "--roles", ""},
		"unknown command":        {"fly", 2, "", `unknown command "fly"`},
		"unknown subcommand":     {"topics aply", 2, "", "aply"},
		"group without command":  {"deadletters", 0, "replay", ""},
		"unknown flag":           {"run --speed 3", 2, "", "unknown flag: --speed"},
		"bad flag":               {"deadletters list --limit many", 2, "", "--limit"},
		"argument too many":      {"run now", 2, "", "now"},
		"argument missing":       {"init", 2, "", "1 arg"},
		"unknown role":           {"run --roles worker,pilot", 2, "", `roles: "pilot" is not one of`},
		"unknown key":            {"check --set worker.lane=1", 2, "", "worker.lane: unknown key"},
		"no key":                 {"check --set worker", 2, "", "write key=value"},
		"no configuration file":  {"check --config " + empty + "/none.yaml", 2, "", "none.yaml"},
		"no repository":          {"check --set models.repository=" + empty + "/none", 2, "", "open model repository"},
		"empty repository":       {"check --set models.repository=" + empty, 0, "ok", ""},
		"run without a model":    {"run --set http.addr= --roles worker --set models.repository=" + empty, 1, "", "holds no model"},
		"init of nothing":        {"init " + empty + "/none.onnx --set models.repository=" + empty, 1, "", "none.onnx"},
		"label of no data":       {"init m.onnx --label y", 2, "", "--label says what --data is: name the table"},
		"reference of nothing":   {"reference m 1", 2, "", "--data, or --from and --to: say of which rows"},
		"label of stored rows":   {"reference m 1 --label y" + stored, 2, "", "--label is of a table (--data); what stored rows are says the manifest"},
		"window of stored rows":  {"reference m 1 --window 1h --rate 0.1 --categorical x --set models.repository=" + empty + stored, 1, "", "load model m/1"},
		"window of milliseconds": {"reference m 1 --window 1ms" + stored, 2, "", "--window: must be whole seconds, 1s to 8784h0m0s, got 1ms"},
		"end before the start":   {"reference m 1 --from 2024-02-01T00:00:00Z --to 2024-01-01T00:00:00Z", 2, "", "--to must be after --from"},
		"negative requests":      {"demo --requests -1", 2, "", "--requests must be at least 0"},
		"letter without a slash": {"deadletters show 17", 2, "", `"17" is no dead letter's id`},
		"letter without offset":  {"deadletters show 1/", 2, "", "is no dead letter's id"},
		"letter of three":        {"deadletters show 1/2/3", 2, "", "is no dead letter's id"},
		"letter below zero":      {"deadletters show 1/-3", 2, "", "is no dead letter's id"},
		"letter too far":         {"deadletters show 4294967296/1", 2, "", "is no dead letter's id"},
		"letter not a number":    {"deadletters replay 0/1 a/b", 2, "", `"a/b" is no dead letter's id`},
		"replay of what":         {"deadletters replay", 2, "", "name the letters to replay"},
		"show without id":        {"deadletters show", 2, "", "1 arg"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := millrace(t, strings.Fields(tc.args)...)
			require.Equal(t, tc.code, code, stderr)
			require.Contains(t, stdout, tc.stdout)
			require.Contains(t, stderr, tc.stderr)
			require.Equal(t, code == 0, stderr == "", stderr)
		})
	}
}

func TestCheckReportsEveryFault(t *testing.T) {
	models := t.TempDir()
	for _, name := range []string{"a", "b"} {
		require.NoError(t, os.MkdirAll(filepath.Join(models, name, "1"), 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(models, name, "1", "manifest.yaml"), []byte("name: "+name+"\nspeed: 3\n"), 0o600))
	}
	t.Setenv("MILLRACE_LOG_LEVEL", "loud")
	config := write(t, "models: {repository: "+models+"}\nworker:\n  lanes: none\n  wings: 2\nkafka: {brokers: [here]}\n")
	code, stdout, stderr := millrace(t, "check", "--config", config, "--set", "topics.partitions=0")
	require.Equal(t, 2, code)
	require.NotContains(t, stdout, "ok")
	for _, fault := range []string{
		config + ":3: worker.lanes:", config + ":4: worker.wings: unknown key", `kafka.brokers: "here" is not host:port`,
		"topics.partitions: must be at least 1, got 0", `log.level: "loud" is not one of`,
		"load model a/1", "load model b/1",
	} {
		require.Contains(t, stderr, fault)
	}
}

func TestUnreachableKafka(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var out, errs output
	require.Equal(t, 1, run(ctx, []string{"topics", "check", "--set", nowhere}, &out, &errs))
	require.Contains(t, errs.String(), "127.0.0.1:1")
}

// TestFirstPrediction brings a model that the project has never seen from its file to its
// first stored prediction, with the commands of the README.
func TestFirstPrediction(t *testing.T) {
	dir := t.TempDir()
	admin, _, err := supervisor.FreePort("127.0.0.1:0")
	require.NoError(t, err)
	config := filepath.Join(dir, "millrace.yaml")
	settings := fmt.Sprintf("models: {repository: %[1]s/models}\nmonitor: {reports_dir: %[1]s/reports}\nhttp: {addr: %[2]q}\n"+
		"recorder: {flush_interval: 50ms}\nembedded: {dir: %[1]s/data, kafka_addr: '127.0.0.1:0', clickhouse_addr: '127.0.0.1:0'}\n", dir, admin)
	require.NoError(t, os.WriteFile(config, []byte(settings), 0o600))
	t.Setenv("MILLRACE_CONFIG", config)

	made := must(t, "init", filepath.Join("..", "..", "inference", "onnx", "testdata", "gbdt.onnx"), "--name", "mine")
	require.Contains(t, made, "millrace.requests.mine")
	example := regexp.MustCompile(`(?m)^example +(\{.*\})$`).FindStringSubmatch(made)
	require.Len(t, example, 2, made)
	checked := must(t, "check")
	require.Contains(t, checked, "model mine/1: ")
	require.Contains(t, checked, ", serves")
	require.True(t, strings.HasSuffix(checked, "ok\n"))

	dev, endDev := background(t, "dev")
	eventually(t, "the services are there", func() bool { return strings.Contains(dev.String(), "Ctrl-C") })
	addrs := regexp.MustCompile(`Kafka +(\S+)\nClickHouse +http://(\S+)`).FindStringSubmatch(dev.String())
	require.Len(t, addrs, 3, dev.String())
	t.Setenv("MILLRACE_KAFKA_BROKERS", addrs[1])
	t.Setenv("MILLRACE_CLICKHOUSE_ADDR", addrs[2])

	t.Run("topics", func(t *testing.T) {
		require.Equal(t, "ok\n", must(t, "topics", "check"))
		require.Equal(t, "0 changes\n", must(t, "topics", "apply"))
		code, stdout, stderr := millrace(t, "topics", "check", "--set", "topics.partitions=6", "--set", "topics.retention=1h")
		require.Equal(t, 1, code)
		require.Contains(t, stdout, "millrace.requests.mine: has 4 partitions, 6 are wanted")
		require.Contains(t, stdout, "millrace.results.mine: has retention.ms=604800000, 3600000 is wanted")
		require.Contains(t, stderr, "millrace topics apply")
		require.Contains(t, must(t, "topics", "apply", "--set", "topics.partitions=6"), "millrace.feedback: raised from 4 to 6 partitions")
		require.Equal(t, "ok\n", must(t, "topics", "check", "--set", "topics.partitions=6"))
		require.Equal(t, "ok\n", must(t, "topics", "check"), "more partitions than wanted are no fault")
	})

	_, endRun := background(t, "run")
	eventually(t, "the roles are ready", func() bool {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	predicted := regexp.MustCompile(`^\{"request_id":"([^"]+)","model":"mine","version":"1","predictions":\{.+\}.*\}\n$`).
		FindStringSubmatch(must(t, "predict", "mine", example[1]))
	require.Len(t, predicted, 2)
	sql := func(query string) string {
		resp, err := http.Get("http://" + addrs[2] + "/?query=" + url.QueryEscape(query))
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body)
	}
	eventually(t, "the prediction is stored", func() bool {
		return sql("SELECT request_id, outcome FROM millrace.observations_mine") == predicted[1]+"\tok\n"
	})

	t.Run("deadletters", func(t *testing.T) {
		code, _, stderr := millrace(t, "predict", "mine", `{"speed":3}`)
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "missing_feature")
		listed := must(t, "deadletters", "list", "--model", "mine", "--class", "missing_feature")
		require.Equal(t, 1, strings.Count(listed, "\n"), listed)
		id, _, _ := strings.Cut(listed, "\t")
		shown := must(t, "deadletters", "show", id)
		require.Contains(t, shown, "\n\n{\"speed\":3}\n")
		require.Contains(t, shown, "millrace-error-class: missing_feature\n")
		require.Equal(t, "1 replayed, 0 skipped\n", must(t, "deadletters", "replay", id))
		eventually(t, "the replay is a dead letter too", func() bool {
			return strings.Count(must(t, "deadletters", "list"), "\n") == 2
		})
		require.Equal(t, 1, strings.Count(must(t, "deadletters", "list", "--limit", "1"), "\n"))
		code, _, stderr = millrace(t, "deadletters", "show", "0/1000")
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "no record at offset 1000")
		code, _, _ = millrace(t, "deadletters", "replay", "0/1000")
		require.Equal(t, 1, code)
	})
	endRun()
	endDev()
}
