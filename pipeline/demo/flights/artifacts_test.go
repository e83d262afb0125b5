package flights_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/demo/flights"
	"github.com/millrace/millrace/schemas"
)

// example is the folder of the model, of what trained it and of the manifest before training.
var example = filepath.Join("..", "..", "..", "deploy", "examples", "flights")

// TestManifestIsOfTheExample: the committed version's manifest begins with the one that is written by
// hand, in whose places training has put what it found.
func TestManifestIsOfTheExample(t *testing.T) {
	byHand, err := os.ReadFile(filepath.Join(example, "manifest.yaml"))
	require.NoError(t, err)
	made, err := os.ReadFile(filepath.Join(example, "models", flights.Model, "1", schemas.ManifestFile))
	require.NoError(t, err)
	want, got := strings.Split(strings.TrimSuffix(string(byHand), "\n"), "\n"), strings.Split(string(made), "\n")
	require.Greater(t, len(got), len(want), "`millrace reference` has added nothing")
	place := regexp.MustCompile(`\\\$[a-z]+`)
	for i, line := range want {
		require.Regexp(t, "^"+place.ReplaceAllString(regexp.QuoteMeta(line), "[^$]+")+"$", got[i], "line %d", i+1)
	}
}

// TestArtifacts holds the committed version of the model to the contracts of schemas.
func TestArtifacts(t *testing.T) {
	dir := filepath.Join(example, "models", flights.Model, "1")
	m, err := schemas.ReadManifest(dir)
	require.NoError(t, err)
	require.Equal(t, flights.Model, m.Name)

	read := func(a *schemas.Artifact) []byte {
		text, err := os.ReadFile(filepath.Join(dir, a.File))
		require.NoError(t, err)
		sum := sha256.Sum256(text)
		require.Equal(t, a.SHA256, hex.EncodeToString(sum[:]), a.File)
		require.Less(t, len(text), 1<<20, a.File)
		return text
	}
	read(&m.Artifact)
	r, err := schemas.ParseReference(m.Reference.File, read(m.Reference), m)
	require.NoError(t, err)
	require.Len(t, r.Columns, len(m.Features)+len(m.Outputs))
	require.True(t, r.OutOfFold)
	for _, s := range []schemas.Stattest{
		schemas.StattestAccuracy, schemas.StattestPrecision, schemas.StattestRecall, schemas.StattestAUC,
	} {
		require.Contains(t, r.Quality, s)
	}
	for _, c := range r.Columns {
		if f, ok := m.Feature(c.Name); ok && f.Type == schemas.TypeCategory {
			require.Equal(t, f.Categories, c.Categories)
		}
	}

	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	sample, err := ipc.NewFileReader(bytes.NewReader(read(m.Sample)), ipc.WithAllocator(mem))
	require.NoError(t, err)
	defer sample.Close()
	require.True(t, sample.Schema().Equal(m.SampleSchema()), "sample has %s\nwant %s", sample.Schema(), m.SampleSchema())
	require.Equal(t, 1, sample.NumRecords())
	batch, err := sample.Record(0)
	require.NoError(t, err)
	require.EqualValues(t, 500, batch.NumRows())
	scores := batch.Column(len(m.Features)).(*array.Float32)
	for _, p := range scores.Float32Values() {
		require.True(t, p > 0 && p < 1, "%v is no probability", p)
	}
}

// TestRequestsFitTheManifest: every feature and the event time of the manifest is in a
// request, and nothing that the manifest does not know but the request id.
func TestRequestsFitTheManifest(t *testing.T) {
	m, err := schemas.ReadManifest(filepath.Join(example, "models", flights.Model, "1"))
	require.NoError(t, err)
	s, err := flights.Open(writeFlights(t, []flight{{at("2001-01-01 09:00"), 1, 606, "ORD", "ATL"}}, false), 0)
	require.NoError(t, err)
	var e flights.Event
	_, ok := s.Next(nil, &e)
	require.True(t, ok)
	got := keys(t, e.Value)
	want := []string{"request_id", m.EventTime.Field}
	for _, f := range m.Features {
		want = append(want, f.Name)
	}
	require.ElementsMatch(t, want, got)
	require.Equal(t, schemas.TimeUnixMS, m.EventTime.Format)
}
