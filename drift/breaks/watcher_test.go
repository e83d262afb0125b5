package breaks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/breaks"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

var errCut = errors.New("cut")

// memory is a store and a topic in memory, of which any call may fail, before or after it has had its effect.
type memory struct {
	random  *rand.Rand
	faults  int // of 1000 calls
	clock   time.Time
	labels  []profile.Labelled
	known   map[schemas.Coordinates]time.Time // from when the request of a label is stored; absent: never
	near    map[schemas.Coordinates]bool      // the request was scored not long ago
	rows    []profile.Item
	kept    []schemas.BreakState
	events  map[string]string // by id
	repeats int
}

func (m *memory) fails() bool { return m.random.IntN(1000) < m.faults }

func (m *memory) Now(context.Context) (time.Time, error) { return m.clock, nil }

func (m *memory) Started(context.Context, *schemas.Manifest) (time.Time, error) { return start, nil }

func beyond(position []schemas.Coordinates, at schemas.Coordinates) bool {
	return !slices.ContainsFunc(position, func(p schemas.Coordinates) bool {
		return p.TopicID == at.TopicID && p.Partition == at.Partition && breaks.Compare(at, p) <= 0
	})
}

func (m *memory) LabelledSince(_ context.Context, _ *schemas.Manifest, want profile.LabelsAfter) ([]profile.Labelled, error) {
	if m.fails() {
		return nil, errCut
	}
	var out []profile.Labelled
	of := map[int32]int{}
	for _, l := range m.labels {
		if l.StoredAt.After(m.clock) || l.StoredAt.Before(want.StoredFrom) || !beyond(want.Position, l.At) || of[l.At.Partition] == want.Limit {
			continue
		}
		of[l.At.Partition]++
		from, known := m.known[l.At]
		if !known || from.After(m.clock) || !m.near[l.At] && want.ScoredFrom.After(start.Add(-time.Hour)) {
			l.Fate, l.Error = profile.LabelUnknown, 0
		}
		out = append(out, l)
	}
	return out, nil
}

func (m *memory) RowsSince(_ context.Context, _ *schemas.Manifest, columns []string, want profile.RowsAfter) ([]profile.Item, error) {
	if m.fails() {
		return nil, errCut
	}
	var out []profile.Item
	of := map[int32]int{}
	for _, r := range m.rows {
		if at := r.EventTime.Truncate(time.Second); at.After(want.StoredTo) || at.Before(want.StoredFrom) || !beyond(want.Position, r.At) || of[r.At.Partition] == want.Limit {
			continue
		}
		of[r.At.Partition]++
		r.Values = r.Values[:len(columns)]
		out = append(out, r)
	}
	return out, nil
}

func (m *memory) BreakState(context.Context, *schemas.Manifest) (schemas.BreakState, bool, error) {
	if len(m.kept) == 0 {
		return schemas.BreakState{}, false, nil
	}
	return m.kept[len(m.kept)-1], true, nil
}

func (m *memory) WriteBreakState(_ context.Context, b schemas.BreakState) error {
	if m.fails() {
		return errCut
	}
	m.kept = append(m.kept, b)
	if m.fails() {
		return errCut
	}
	return nil
}

func (m *memory) Publish(_ context.Context, e schemas.Event) error {
	if m.fails() {
		return errCut
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if was, ok := m.events[e.ID]; ok {
		if m.repeats++; was != string(text) {
			return fmt.Errorf("event %s was %s and is %s", e.ID, was, text)
		}
	}
	m.events[e.ID] = string(text)
	if m.fails() {
		return errCut
	}
	return nil
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// stream fills a store with labels and rows of some minutes, in order by partition, with strays.
func stream(seed uint64, faults, partitions int) (m *memory, taken int) {
	r := rand.New(rand.NewPCG(seed, 5))
	m = &memory{
		random: rand.New(rand.NewPCG(seed, 6)), faults: faults, clock: start,
		known: map[schemas.Coordinates]time.Time{}, near: map[schemas.Coordinates]bool{}, events: map[string]string{},
	}
	level := 0.1
	for i := range 1500 {
		if i%400 == 399 {
			level = 0.7 - level
		}
		p := int32(r.IntN(partitions))
		at := schemas.Coordinates{TopicID: topic, Partition: p, Offset: int64(3*i + r.IntN(3))}
		stored := start.Add(time.Duration(i) * time.Second / 5)
		l := profile.Labelled{At: at, StoredAt: stored.Truncate(time.Second), Fate: profile.LabelTaken, EventTime: stored}
		if r.Float64() < level {
			l.Error = 1
		}
		m.labels = append(m.labels, l)
		if r.IntN(100) > 0 {
			m.known[at] = stored.Add(time.Duration(max(0, r.IntN(40)-36)) * time.Second)
			m.near[at] = r.IntN(20) > 0
			taken++
		}
		m.rows = append(m.rows, profile.Item{At: at, EventTime: stored, Values: []float64{(level + r.Float64()) / 2, 0, 0, 0}})
	}
	slices.SortFunc(m.labels, func(a, b profile.Labelled) int { return breaks.Compare(a.At, b.At) })
	slices.SortFunc(m.rows, func(a, b profile.Item) int { return breaks.Compare(a.At, b.At) })
	return m, taken
}

// watch runs a watcher until it is some minutes past the stream, each time from what is kept where the one before was killed.
func watch(t *testing.T, m *memory, text string) *breaks.Runner {
	t.Helper()
	cfg := breaks.DefaultConfig()
	cfg.Limit, cfg.Rounds = 60, 5
	man := manifest(t, binary, text)
	w := breaks.NewWatcher(cfg, m, m, zerolog.Nop())
	for m.clock = start; m.clock.Before(start.Add(9 * time.Minute)); m.clock = m.clock.Add(time.Second) {
		if m.clock.After(start.Add(8 * time.Minute)) {
			m.faults = 0
		}
		if err := w.Tick(t.Context(), m.clock, []*schemas.Manifest{man}); err != nil {
			require.ErrorIs(t, err, errCut)
		}
		if m.faults > 0 && m.random.IntN(20) == 0 {
			w = breaks.NewWatcher(cfg, m, m, zerolog.Nop())
		}
	}
	kept := m.kept[len(m.kept)-1]
	require.Empty(t, kept.Events)
	r, err := breaks.Restore(man, []byte(kept.State))
	require.NoError(t, err)
	return r
}

// A watcher that is killed at any point, and whose calls fail, takes every value once, and has one event for each break
// of the state that it ends with, repeated only as it was. With one partition, the breaks are those of a
// watcher that nothing happens to.
func TestWatcherKilled(t *testing.T) {
	const text = "{on: error, " + quick + "}, {on: error, detector: ddm}, {on: score, " + quick + "}"
	repeats := 0
	for seed := range uint64(12) {
		partitions := 1 + int(seed%3)
		t.Logf("seed %d", seed)
		calm, taken := stream(seed, 0, partitions)
		want := watch(t, calm, text)
		m, _ := stream(seed, 100, partitions)
		got := watch(t, m, text)
		breaksOf := 0
		for i, c := range got.Counts() {
			values := []int{taken, taken, len(m.rows)}[i]
			require.EqualValues(t, values, c.Taken, c.On)
			require.EqualValues(t, values, want.Counts()[i].Taken)
			breaksOf += int(c.Breaks)
		}
		require.Len(t, m.events, breaksOf)
		require.NotEmpty(t, m.events)
		if partitions == 1 {
			require.Equal(t, want.Counts(), got.Counts())
			for id := range calm.events {
				require.Contains(t, m.events, id)
			}
		}
		repeats += m.repeats
	}
	require.Positive(t, repeats)
}
