package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/pipeline/verify"
)

// equal demands that `millrace verify` finds log and tables equal, when all is answered and
// stored; and where it does not, that it can repair them. Results are compared with requests
// only until a topic was made again: verify cannot know what lay in the one before, as the
// verdict does.
func (r *run) equal(ctx context.Context, in Incident) error {
	for _, o := range []operate.VerifyOptions{{Logger: r.log}, {Logger: r.log, Repair: true}} {
		report, err := operate.Verify(ctx, r.cluster.cfg, o)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		found, by := "finds", report.Lines
		if o.Repair {
			found = "cannot repair"
		}
		var text strings.Builder
		for i := range by {
			if l := &by[i]; l.Missing+l.Doubled+l.Alien > 0 && (l.Kind != verify.KindResults || !r.again()) {
				fmt.Fprintf(&text, " %s of %s partition %d: %d missing, %d doubled, %d alien (%s);", l.Kind, l.Table, l.Partition, l.Missing, l.Doubled, l.Alien, strings.Join(l.First, ", "))
			}
		}
		if text.Len() == 0 {
			return nil
		}
		r.cluster.find(Finding{What: fmt.Sprintf("after %q millrace verify %s:%s", in, found, &text), At: time.Now()})
	}
	return nil
}

// again tells whether a topic was made again.
func (r *run) again() bool {
	return slices.ContainsFunc(r.happened, func(h happened) bool { return h.Kind == Again })
}
