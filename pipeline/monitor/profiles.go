package monitor

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

const (
	// profileRows is about how many rows of a version one pass counts for profiles. Four million rows
	// of 20 columns take ClickHouse some ten CPU seconds, and once more for each segment.
	profileRows = 4_000_000
	// profileEvery is the least time between two comparisons of a version's profiles with its rows,
	// where nothing was left to count.
	profileEvery = 10 * time.Minute
	// profileOverlap is how far back a comparison looks for rows beyond the one before it.
	profileOverlap = time.Hour
)

// profiles keeps the plans that recorders count by, and has the rows counted that these have not:
// those of before there was a plan, and of calls that were counted in part.
type profiles struct {
	profiler *history.Profiler
	store    drift.LearnedReferences
	log      zerolog.Logger
	versions map[string]*profiling
}

// profiling is how far the profiles of one version are.
type profiling struct {
	reference *schemas.Reference // one that was learned
	planned   bool
	since     time.Time // rows that were stored before are in the profiles; zero: none may be
	next      time.Time
}

func newProfiles(profiler *history.Profiler, store drift.LearnedReferences, log zerolog.Logger) *profiles {
	return &profiles{profiler: profiler, store: store, log: log, versions: map[string]*profiling{}}
}

// tick is one pass over the versions. One that fails does not keep the others from theirs.
func (p *profiles) tick(ctx context.Context, now time.Time, versions []drift.Version) error {
	var errs []error
	for _, v := range versions {
		if err := p.version(ctx, now, v); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (p *profiles) version(ctx context.Context, now time.Time, v drift.Version) error {
	m, key := v.Manifest, v.Manifest.Name+"/"+v.Manifest.Version
	s := p.versions[key]
	if s == nil {
		s = &profiling{reference: v.Reference}
		p.versions[key] = s
	}
	if s.reference == nil && v.Learns() {
		var err error
		if s.reference, _, err = drift.Learned(ctx, p.store, m); err != nil {
			return err
		}
	}
	if s.reference == nil || len(s.reference.Columns) == 0 || now.Before(s.next) {
		return nil
	}
	if !s.planned {
		changed, err := p.profiler.Plan(ctx, m, s.reference)
		if err != nil {
			return err
		}
		if s.planned = true; changed {
			p.log.Info().Str("model", m.Name).Str("version", m.Version).Msg("rows are counted by the cells of the reference as they are stored, those that are there in passes")
		}
	}
	span, any, err := p.profiler.Stored(ctx, m, s.since)
	if err != nil {
		return err
	}
	var done history.Filled
	if any {
		if done, err = p.profiler.Fill(ctx, m, s.reference, profile.Span{Start: span.Start, End: span.End}, profileRows); err != nil {
			return err
		}
	}
	if done.Left == 0 {
		s.since = now.Add(-profileOverlap)
	}
	if done.Left == done.Waiting {
		s.next = now.Add(profileEvery)
	}
	if done.Buckets > 0 {
		p.log.Info().Str("model", m.Name).Str("version", m.Version).Int("buckets", done.Buckets).Uint64("rows", done.Rows).Int("left", done.Left).Msg("rows that no recorder has counted are in the profiles")
	}
	return nil
}
