package schemas_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

var topicID = uuid.MustParse("6D2C3C2E-94A1-4AD6-8F2B-0F3E7A3C9B11")

func TestCoordinatesID(t *testing.T) {
	c := schemas.Coordinates{TopicID: topicID, Partition: 3, Offset: 42}
	require.Equal(t, "6d2c3c2e-94a1-4ad6-8f2b-0f3e7a3c9b11/3/42", string(c.AppendID(nil)))
	c.Row = 7
	require.Equal(t, "x6d2c3c2e-94a1-4ad6-8f2b-0f3e7a3c9b11/3/42/7", string(c.AppendID([]byte("x"))))
	require.Equal(t, uuid.Nil.String()+"/0/0", string(schemas.Coordinates{}.AppendID(nil)))
	for range 100 {
		id := uuid.New()
		text := string(schemas.Coordinates{TopicID: id}.AppendID(nil))
		require.Equal(t, id.String(), strings.TrimSuffix(text, "/0/0"))
	}
	dst := make([]byte, 0, 100)
	require.Zero(t, testing.AllocsPerRun(100, func() { dst = c.AppendID(dst[:0]) }))
}

func TestRecordHeader(t *testing.T) {
	r := schemas.Record{TopicID: topicID, Partition: 1, Offset: 2, Headers: []schemas.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "b"}}}
	v, ok := r.Header("a")
	require.True(t, ok)
	require.Equal(t, "2", string(v), "the last one counts")
	v, ok = r.Header("b")
	require.True(t, ok)
	require.Empty(t, v)
	_, ok = r.Header("A")
	require.False(t, ok)
	require.Equal(t, schemas.Coordinates{TopicID: topicID, Partition: 1, Offset: 2}, r.Coordinates())
}

func TestErrorClasses(t *testing.T) {
	all := schemas.ErrorClasses()
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(all))), len(all))
	require.Len(t, all, 13)
	err := schemas.Errorf(schemas.ErrorClassWrongType, "%q is odd", "x")
	require.EqualError(t, err, `wrong_type: "x" is odd`)
	row := schemas.RowError{Row: 3, RequestError: err}
	require.EqualError(t, row, `wrong_type: "x" is odd`)
}

func event() schemas.EventData {
	return schemas.EventData{
		Kind: schemas.EventRetraining, Severity: schemas.SeverityCritical, Model: "flights_delay", Version: "1",
		WindowStart: time.Date(2001, 2, 1, 0, 0, 0, 0, time.UTC), WindowEnd: time.Date(2001, 2, 2, 0, 0, 0, 0, time.UTC),
		Rows: 15000, Labels: 14990, TrainingSQL: "SELECT 1",
		Breaches: []schemas.Breach{{Stattest: schemas.StattestPSI, Column: "origin", Value: 0.31, Threshold: 0.2, Severity: schemas.SeverityCritical, Retrain: true}},
	}
}

// An event's id is remembered by whoever acted on it: it must not change with a release.
func TestEventID(t *testing.T) {
	d := event()
	want := schemas.EventID(d)
	require.Equal(t, "d7a2b87b3155e468a546b0f937aa30b5", want)
	same := d
	same.Job, same.Rows, same.Breaches, same.Severity, same.TrainingSQL, same.Report = schemas.JobDrift, 1, nil, "", "", "r"
	same.WindowStart = d.WindowStart.In(time.FixedZone("x", 3600))
	require.Equal(t, want, schemas.EventID(same), "what is found in a window is not the window")
	for _, change := range []func(*schemas.EventData){
		func(d *schemas.EventData) { d.Kind = schemas.EventDrift }, func(d *schemas.EventData) { d.Model += "x" },
		func(d *schemas.EventData) { d.Version = "2" }, func(d *schemas.EventData) { d.WindowStart = d.WindowStart.Add(1) },
		func(d *schemas.EventData) { d.WindowEnd = d.WindowEnd.Add(1) }, func(d *schemas.EventData) { d.Revision = 1 },
		func(d *schemas.EventData) { d.Model, d.Version = "flights_dela", "y1" },
	} {
		other := d
		change(&other)
		require.NotEqual(t, want, schemas.EventID(other))
	}
}

func TestEventJSON(t *testing.T) {
	e := schemas.NewEvent(event(), time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("x", 3600)))
	text, err := json.MarshalIndent(e, "", "  ")
	require.NoError(t, err)
	golden(t, "event.json", string(text)+"\n")
	var again schemas.Event
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, e, again)
}

func fieldList(s *arrow.Schema) string {
	var b strings.Builder
	for _, f := range s.Fields() {
		fmt.Fprintf(&b, "%s %s nullable=%v\n", f.Name, f.Type, f.Nullable)
	}
	md := s.Metadata()
	for i, k := range md.Keys() {
		fmt.Fprintf(&b, "%s=%s\n", k, md.Values()[i])
	}
	return b.String()
}

func TestSchemasOfAManifest(t *testing.T) {
	m := parse(t, full)
	request, observation, sample := m.RequestSchema(), m.ObservationSchema(), m.SampleSchema()
	golden(t, "schemas.txt", "request\n"+fieldList(request)+"\nobservation\n"+fieldList(observation)+"\nsample\n"+fieldList(sample))
	require.Equal(t, request.Fields(), observation.Fields()[:len(request.Fields())], "the batch is extended without a copy")
	for _, name := range schemas.SystemColumns() {
		require.Len(t, observation.FieldIndices(name), 1, name)
	}
	require.Len(t, observation.Fields(), len(m.Features)+len(m.Outputs)+len(schemas.SystemColumns()))
	model, version, err := schemas.SchemaModel(observation)
	require.NoError(t, err)
	require.Equal(t, []string{m.Name, m.Version}, []string{model, version})
	_, _, err = schemas.SchemaModel(request)
	require.ErrorContains(t, err, "names no model and version")
	evil := arrow.NewMetadata([]string{schemas.MetadataModel, schemas.MetadataVersion}, []string{"x; DROP", "1"})
	_, _, err = schemas.SchemaModel(arrow.NewSchema(nil, &evil))
	require.Error(t, err)
}

func TestScoreOutput(t *testing.T) {
	require.Equal(t, "score", parse(t, full).ScoreOutput())
	require.Equal(t, "y", parse(t, minimal).ScoreOutput())
	none := parse(t, strings.Replace(minimal, "{name: y, type: float32}", "{name: y, type: string}", 1))
	require.Empty(t, none.ScoreOutput())
	md := none.ObservationSchema().Metadata()
	require.Equal(t, -1, md.FindKey(schemas.MetadataScore))
}

func TestTopicNames(t *testing.T) {
	topics := schemas.DefaultTopics()
	require.NoError(t, topics.Validate())
	require.Equal(t, "millrace.requests.m", topics.RequestsOf("m"))
	require.Equal(t, "millrace.results.m", topics.ResultsOf("m"))
	model, ok := topics.ModelOf("millrace.requests.flights_delay")
	require.True(t, ok)
	require.Equal(t, "flights_delay", model)
	_, ok = topics.ModelOf("millrace.results.m")
	require.False(t, ok)

	bad := topics
	bad.Requests, bad.Results, bad.Feedback, bad.Events, bad.Audit = "", "a b", strings.Repeat("x", 181), "..", topics.Control
	err := bad.Validate()
	for _, want := range []string{`topics.requests: ""`, `topics.results: "a b"`, "topics.feedback: ", `topics.events: ".."`, `topics.audit: "millrace.control" is already topics.control`} {
		require.ErrorContains(t, err, want)
	}
}

func TestNoTopicIsReadAsRequests(t *testing.T) {
	for key, set := range map[string]func(*schemas.Topics, string){
		"results":      func(t *schemas.Topics, name string) { t.Results = name },
		"observations": func(t *schemas.Topics, name string) { t.Observations = name },
		"deadletters":  func(t *schemas.Topics, name string) { t.DeadLetters = name },
		"feedback":     func(t *schemas.Topics, name string) { t.Feedback = name },
		"control":      func(t *schemas.Topics, name string) { t.Control = name },
		"events":       func(t *schemas.Topics, name string) { t.Events = name },
		"audit":        func(t *schemas.Topics, name string) { t.Audit = name },
	} {
		topics := schemas.DefaultTopics()
		set(&topics, "millrace.requests.x")
		require.EqualError(t, topics.Validate(), `topics.`+key+`: "millrace.requests.x" starts with topics.requests "millrace.requests.", so workers would read it as requests`)
		set(&topics, "millrace.r.x")
		require.NoError(t, topics.Validate(), key)
	}
	topics := schemas.DefaultTopics()
	topics.Requests = "millrace.results.in"
	require.EqualError(t, topics.Validate(), `topics.requests: "millrace.results.in" starts with topics.results "millrace.results.", so workers could read results as requests`)
}

func TestClashes(t *testing.T) {
	topics := schemas.DefaultTopics()
	for name, want := range map[string]bool{
		"": false, "millrace.alerts": false, "alerts": false, "millrace.requests": false, "millrace.results.a.b": false,
		"millrace.requests.": true, "millrace.requests.m": true, "millrace.requests.a.b": true,
		"millrace.results.": true, "millrace.results.m": true,
		"millrace.observations": true, "millrace.deadletters": true, "millrace.feedback": true,
		"millrace.control": true, "millrace.events": true, "millrace.audit": true,
	} {
		require.Equal(t, want, topics.Clashes(name), "%q", name)
	}
}

func TestTopicSpecs(t *testing.T) {
	specs := schemas.DefaultTopics().Specs([]string{"a", "b"}, schemas.TopicSettings{
		Partitions: 6, ReplicationFactor: 3, Retention: 48 * time.Hour, RetentionBytes: 1 << 30, Spread: 2,
	})
	var b strings.Builder
	for _, s := range specs {
		fmt.Fprintf(&b, "%s partitions=%d replicas=%d", s.Name, s.Partitions, s.ReplicationFactor)
		keys := make([]string, 0, len(s.Config))
		for k, v := range s.Config {
			keys = append(keys, k+"="+v)
		}
		slices.Sort(keys)
		b.WriteString(" " + strings.Join(keys, " ") + "\n")
	}
	golden(t, "topics.txt", b.String())
	require.GreaterOrEqual(t, schemas.MaxResultBytes, 2*schemas.MaxRequestBytes)
	require.GreaterOrEqual(t, schemas.MaxDeadLetterBytes, 2*schemas.MaxRequestBytes)
	require.Greater(t, schemas.MaxSmallRecordBytes, 2*schemas.MaxTextBytes+schemas.MaxCategoryBytes+16<<10, "a row of the longest texts is an observation record")
	require.GreaterOrEqual(t, schemas.MaxSmallRecordBytes, 2*schemas.MaxObservationBytes)
}

func TestReference(t *testing.T) {
	m := parse(t, full)
	const text = `{"rows":10,"made":"by hand","quality":{"roc_auc":0.8},"columns":[
		{"name":"origin","categories":["ATL",""],"counts":[4,3],"other":2,"missing":1},
		{"name":"score","edges":[0.25,0.5],"counts":[5,3,2],"missing":0,"mean":0.3,"std_dev":0.1},
		{"name":"ok","categories":["false","true"],"counts":[9,1],"missing":0}]}`
	r, err := schemas.ParseReference("r.json", []byte(text), m)
	require.NoError(t, err)
	c, ok := r.Column("score")
	require.True(t, ok)
	require.Equal(t, []int64{5, 3, 2}, c.Counts)
	require.InDelta(t, 0.8, r.Quality[schemas.StattestAUC], 0)
	_, ok = r.Column("text")
	require.False(t, ok)

	for name, tc := range map[string]struct{ from, to, want string }{
		"not JSON":        {`{"rows"`, `{rows`, "r.json: "},
		"unknown key":     {`"made"`, `"maid"`, `unknown field "maid"`},
		"trailing":        {`"missing":0}]}`, `"missing":0}]} {}`, "more than one JSON value"},
		"unknown column":  {`"name":"ok"`, `"name":"okay"`, `column "okay" is neither a feature nor an output`},
		"column twice":    {`"name":"ok"`, `"name":"score"`, `column "score" stands twice`},
		"missing column":  {`"name":"ok"`, `"name":"text"`, `monitoring.checks[2] needs column "ok"`},
		"counts":          {`"counts":[5,3,2]`, `"counts":[5,5]`, `column "score" has 2 counts for 3 bins`},
		"both":            {`"edges":[0.25,0.5]`, `"edges":[0.25,0.5],"categories":["a"]`, `column "score" has both edges and categories`},
		"order":           {`[0.25,0.5]`, `[0.5,0.5]`, `edges must be finite and ascend, edge 1 is 0.5`},
		"negative":        {`[9,1]`, `[11,-1]`, `column "ok" has a negative count`},
		"negative others": {`"other":2,"missing":1`, `"other":-2,"missing":5`, `column "origin" has a negative count`},
		"sum":             {`"rows":10`, `"rows":11`, `column "origin" counts 10 rows of 11`},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(text, tc.from, tc.to, 1)
			require.NotEqual(t, text, changed)
			_, err := schemas.ParseReference("r.json", []byte(changed), m)
			require.ErrorContains(t, err, "reference r.json: ")
			require.ErrorContains(t, err, tc.want)
		})
	}
}

// A reference is somebody else's file: what it makes is bounded before anything is made of it.
func TestLargeReferences(t *testing.T) {
	m := parse(t, full)
	for name, tc := range map[string]struct{ text, want string }{
		"columns": {`{"rows":1,"columns":[` + strings.Repeat(`{},`, 1_000_000) + `{}]}`, "more columns than the"},
		"bytes":   {strings.Repeat(" ", schemas.MaxReferenceBytes) + `{}`, "more than 32 MiB"},
		"faults":  {`{"rows":0,"columns":[{"name":"score","edges":[` + strings.Repeat("1,", 1_000_000) + `1]}]}`, "and more"},
		"braces":  {`{"rows":0,"columns":[],"made":"` + strings.Repeat(`\"{`, 1000) + `{"}`, "which the reference does not have"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schemas.ParseReference("r.json", []byte(tc.text), m)
			require.ErrorContains(t, err, tc.want)
			require.Less(t, len(err.Error()), 10_000)
		})
	}
}

func TestTableOfAManifest(t *testing.T) {
	storage := schemas.Storage{Database: "millrace", TTLDays: 90}
	statements, err := schemas.TableDDL(parse(t, full).ObservationSchema(), storage)
	require.NoError(t, err)
	golden(t, "table.sql", strings.Join(statements, ";\n\n")+";\n")
	_, err = schemas.TableDDL(parse(t, full).RequestSchema(), storage)
	require.Error(t, err, "without a model there is no table")
	_, err = schemas.TableDDL(parse(t, full).ObservationSchema(), schemas.Storage{Database: "a`b", TTLDays: 1})
	require.ErrorContains(t, err, "clickhouse.database")
}

func TestMigrationsAreInOrder(t *testing.T) {
	migrations, err := schemas.Migrations(schemas.Storage{Database: "db1", TTLDays: 7})
	require.NoError(t, err)
	require.NotEmpty(t, migrations)
	for i, m := range migrations {
		require.Equal(t, i+1, m.Number, m.Name)
		require.NotEmpty(t, m.Name)
		for _, s := range m.Statements {
			require.NotContains(t, s, "{{", m.Name)
			require.NotEmpty(t, s, m.Name)
		}
	}
	_, err = schemas.Migrations(schemas.Storage{Database: "db1"})
	require.ErrorContains(t, err, "clickhouse.ttl_days")
}
