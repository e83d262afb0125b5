package drift

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"time"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// Learns tells whether the version's reference is learned from what it has answered.
func (v Version) Learns() bool {
	return v.Reference == nil && v.Manifest.Monitoring != nil && v.Manifest.Monitoring.Reference != nil
}

// Learning is how far a version's reference has been learned.
type Learning struct {
	Model, Version string
	Windows        int  // that the reference is made of, or will be
	Wanted         int  // Learned.Windows
	Learned        bool // the reference is kept, and does not change
}

// learning is what the monitor remembers of a reference that is learned.
type learning struct {
	reference *schemas.Reference // nil until it is kept
	to        time.Time          // end of the last window that it was made of
	windows   int                // that have closed with enough rows
	looked    time.Time          // start of the first open window when they were counted

	estimatorLooked time.Time // start of the first open window when the reference's labels were counted
}

// Learned reads and checks the reference that a version has learned, and the end of the last window that it
// was made of; nil where none is kept yet.
func Learned(ctx context.Context, store LearnedReferences, m *schemas.Manifest) (*schemas.Reference, time.Time, error) {
	row, ok, err := store.LearnedReference(ctx, m)
	if err != nil || !ok {
		return nil, time.Time{}, err
	}
	ref, err := schemas.ParseReference("learned by "+m.Name+"/"+m.Version, []byte(row.Reference), m)
	if err != nil {
		return nil, time.Time{}, err
	}
	return ref, row.LearnedTo.UTC(), nil
}

// learn reads the reference of a version that learns it, or makes it once enough windows have
// closed with min_rows rows; open is the start of the first window that has not closed, zero where
// none is known to have.
//
// The reference is read back after it was written: of monitors that learn at the same time, all
// take the one that was kept first.
func (m *Monitor) learn(ctx context.Context, v Version, state *versionState, open time.Time) (Learning, error) {
	l, man := &state.learning, v.Manifest
	wanted := man.Monitoring.Reference.Windows
	said := func() Learning {
		return Learning{Model: man.Name, Version: man.Version, Windows: l.windows, Wanted: wanted, Learned: l.reference != nil}
	}
	if l.reference != nil || (!l.looked.IsZero() && !open.After(l.looked)) {
		return said(), nil
	}
	kept := func() (err error) {
		if l.reference, l.to, err = Learned(ctx, m.store, man); l.reference != nil {
			l.windows = wanted
		}
		return err
	}
	if err := kept(); err != nil || l.reference != nil || open.IsZero() {
		return said(), err
	}
	if man.WindowKind() != "" { // it is learned from the first windows
		l.looked = open
		return said(), nil
	}
	counts, err := m.store.CountRows(ctx, man, profile.Span{End: open}, time.Time{})
	if err != nil {
		return said(), err
	}
	length := man.Monitoring.Window.Std()
	row := schemas.LearnedReference{Model: man.Name, Version: man.Version}
	var spans []profile.Span
	for _, c := range counts {
		if c.Rows >= uint64(man.Monitoring.MinRows) && len(spans) < wanted {
			spans = append(spans, profile.Span{Start: c.Start, End: c.Start.Add(length)})
			row.Windows = append(row.Windows, c.Start)
		}
	}
	log := m.log.Info().Str("model", man.Name).Str("version", man.Version).Int("windows", len(spans)).Int("wanted", wanted)
	if len(spans) < wanted {
		if len(spans) > l.windows || l.looked.IsZero() {
			log.Msg("learning the reference from what is answered; drift is not judged yet")
		}
		l.windows, l.looked = len(spans), open
		return said(), nil
	}
	ref, err := m.store.MakeReference(ctx, man, spans)
	if err != nil {
		return said(), err
	}
	text, err := json.Marshal(ref)
	if err != nil {
		return said(), fmt.Errorf("encode the learned reference: %w", err)
	}
	row.LearnedTo, row.Rows, row.Reference = spans[wanted-1].End, uint64(ref.Rows), string(text)
	if err := m.store.WriteReference(ctx, row); err != nil {
		return said(), err
	}
	if err := kept(); err != nil {
		return said(), err
	}
	if l.reference == nil {
		return said(), fmt.Errorf("the learned reference of %s/%s was written and is not there", man.Name, man.Version)
	}
	log.Int64("rows", l.reference.Rows).Time("to", l.to).Msg("reference learned; it does not change from here on")
	return said(), nil
}

// withoutDrift is the version while its reference cannot be learned: the windows of job drift wait,
// and those of accuracy do not.
func (v Version) withoutDrift() Version {
	m, monitoring := *v.Manifest, *v.Manifest.Monitoring
	monitoring.Reference = nil
	m.Monitoring = &monitoring
	return Version{Manifest: &m}
}

// learning returns how many of the windows, which ascend, start before the reference was learned.
func (p *pass) learning(windows []window) int {
	if p.Reference == nil {
		return len(windows)
	}
	return sort.Search(len(windows), func(i int) bool { return !windows[i].Start.Before(p.state.learning.to) })
}
