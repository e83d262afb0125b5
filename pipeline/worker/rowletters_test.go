package worker_test

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/worker"
	"github.com/millrace/millrace/schemas"
)

// mailbox is a Publisher that keeps what it is given.
type mailbox struct {
	buffer   []byte
	messages []schemas.Message
}

func (m *mailbox) Publish(msg schemas.Message) { m.messages = append(m.messages, msg) }
func (m *mailbox) Buffer() *[]byte             { return &m.buffer }
func (m *mailbox) OnCommit(func())             {}

// Small records whose rows are all bad must not become many megabytes of dead letters: those
// that would are dead letters as a whole, and have no result. One bad row among good ones
// is a letter of its own all the same.
func TestRowLettersAreBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "models")
	catalogtest.Install(t, dir, catalogtest.Prices)
	cfg, err := config.Load("", nil, []string{"models.repository=" + dir, "worker.codecs={prices: arrow}"})
	require.NoError(t, err)
	h, err := worker.NewHandler(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, h.Close()) }()
	bad := make([]int64, 4096)
	for i := range bad {
		bad[i] = -100
	}
	bad[0] = 1
	now := time.Now()
	var records []schemas.Record
	for i, of := range [][]int64{bad, bad, bad, {0, 99, 1, -100}} {
		records = append(records, schemas.Record{
			Topic: cfg.Topics.RequestsOf("prices"), TopicID: uuid.New(), Offset: int64(i), Timestamp: now, Value: catalogtest.Indices(t, of...),
			Headers: []schemas.Header{{Key: "trace", Value: bytes.Repeat([]byte("t"), 500)}}, // of each letter too
		})
	}
	for range 2 { // the room for letters is each request batch's
		var out mailbox
		require.NoError(t, h.Handle(t.Context(), records, now, &out))
		rows, whole, results := map[string]int{}, map[string]int{}, 0
		size := 0
		for i := range out.messages {
			m := &out.messages[i]
			rec := &schemas.Record{Headers: m.Headers}
			for _, h := range m.Headers {
				size += len(h.Value)
			}
			switch offset := rec.HeaderText(schemas.HeaderOffset); {
			case m.Topic == cfg.Topics.ResultsOf("prices"):
				results++
			case m.Topic != cfg.Topics.DeadLetters:
			case rec.HeaderText(schemas.HeaderRow) != "":
				rows[offset]++
				size += len(m.Value)
				require.Len(t, catalogtest.Table(t, m.Value)["index"], 1)
			default:
				whole[offset]++
				size += len(m.Value)
				require.Equal(t, "missing_feature", rec.HeaderText(schemas.HeaderErrorClass))
				require.Contains(t, rec.HeaderText(schemas.HeaderReason), "4095 rows")
				require.Equal(t, records[1].Value, m.Value)
			}
		}
		require.Equal(t, map[string]int{"0": 4095, "3": 2}, rows)
		require.Equal(t, map[string]int{"1": 1, "2": 1}, whole)
		require.Equal(t, 2, results)
		require.Less(t, size, 8<<20)
		require.Greater(t, size, 3<<20)
	}
}
