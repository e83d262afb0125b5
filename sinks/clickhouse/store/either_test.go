package store_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/store"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

// A conflict of types that begins or ends while a range is announced: what is stored of a
// record decides what becomes of it in a replay.
func TestRecordIsEitherRowsOrADeadLetter(t *testing.T) {
	const column = "ALTER TABLE {db}.observations_flights MODIFY COLUMN f0 "
	for name, tc := range map[string]struct {
		first, then   string // the column's type
		rows, letters int
	}{
		"the conflict ends":   {"String", "Float32", 0, 12},
		"the conflict begins": {"Float32", "String", storetest.ReplayRows, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clickhousetest.Client(t)
			alter := func(typ string) {
				require.NoError(t, c.Exec(t.Context(), strings.ReplaceAll(column, "{db}", c.Database())+typ+" SETTINGS mutations_sync = 2"))
			}
			require.NoError(t, c.EnsureTable(t.Context(), observetest.Manifest("flights", "v1").ObservationSchema()))
			require.NoError(t, c.Exec(t.Context(), "DROP TABLE "+c.Database()+".minute_states_of_flights"))
			if tc.first != "Float32" {
				alter(tc.first)
			}
			records := storetest.ReplayRecords(t)
			_, err := storetest.New(t, clickhousetest.Open(t, schemas.Storage{Database: c.Database(), TTLDays: 3650})).Store(t.Context(), records, false)
			require.NoError(t, err)
			alter(tc.then)
			for range 2 {
				stats, err := storetest.New(t, clickhousetest.Open(t, schemas.Storage{Database: c.Database(), TTLDays: 3650})).Store(t.Context(), records, true)
				require.NoError(t, err)
				require.Equal(t, tc.rows+tc.letters, stats.Present)
				require.EqualValues(t, tc.rows, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.observations_flights"))
				require.EqualValues(t, tc.letters, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.dead_letters"))
			}
		})
	}
}

// Of a record that is partly stored the rest must come: it is no dead letter beside its rows.
func TestRestOfARecordIsNotRefused(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	s := storetest.NewHasty(t, c)
	records := storetest.ReplayRecords(t)
	_, err := s.Store(t.Context(), records, false)
	require.NoError(t, err)
	for _, statement := range []string{
		"DELETE FROM {db}.observations_flights WHERE request_offset = 777",
		"DROP TABLE {db}.minute_states_of_flights",
		"ALTER TABLE {db}.observations_flights MODIFY COLUMN f0 String SETTINGS mutations_sync = 2",
	} {
		require.NoError(t, c.Exec(t.Context(), strings.ReplaceAll(statement, "{db}", c.Database())))
	}
	_, err = s.Store(t.Context(), records, true)
	require.ErrorContains(t, err, "499 of its 500 rows are in observations_flights, and the others cannot be stored")
	require.Zero(t, clickhousetest.Count(t, c, "SELECT count() AS n FROM {db}.dead_letters"))
	require.NoError(t, c.Exec(t.Context(), strings.ReplaceAll("ALTER TABLE {db}.observations_flights MODIFY COLUMN f0 Float32 SETTINGS mutations_sync = 2", "{db}", c.Database())))
	_, err = s.Store(t.Context(), records, true)
	require.NoError(t, err)
	storetest.RequireExact(t, c, storetest.ReplayRows)
}

// Who sees that nobody owns a topic's rows owns them from then on; who names the owner takes them over.
func TestClaims(t *testing.T) {
	t.Parallel()
	c := clickhousetest.Client(t)
	s := store.New(c, schemas.DefaultTopics(), nil)
	topic, id, other := schemas.DefaultTopics().Observations, uuid.New(), uuid.New()
	claim := func(id uuid.UUID, group, from string) schemas.Claim {
		got, err := s.Claim(t.Context(), topic, id, group, from)
		require.NoError(t, err)
		return got
	}
	a := claim(id, "it's a", "")
	require.True(t, a.First)
	require.Equal(t, "it's a", a.Group)
	again := claim(id, "it's a", "")
	require.False(t, again.First)
	require.True(t, again.At.Equal(a.At))
	refused := claim(id, "b", "")
	require.Equal(t, "it's a", refused.Group)
	require.Equal(t, "it's a", claim(id, "b", "c").Group, "not its owner")
	b := claim(id, "b", "it's a")
	require.Equal(t, schemas.Claim{Group: "b", From: "it's a", At: b.At}, b)
	require.True(t, b.At.After(a.At))
	require.Equal(t, "b", claim(id, "it's a", "").Group)
	require.True(t, claim(id, "it's a", "b").At.After(b.At), "it is not the claim of before")
	require.True(t, claim(other, "c", "").First, "another topic")
}
