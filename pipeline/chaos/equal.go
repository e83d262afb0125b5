package chaos

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/pipeline"
)

// equal demands that `millrace verify` finds log and tables equal, when all is answered and
// stored; and where it does not, that it can repair them.
func (r *run) equal(ctx context.Context, in Incident) error {
	for _, o := range []pipeline.VerifyOptions{{Logger: r.log}, {Logger: r.log, Repair: true}} {
		report, err := pipeline.Verify(ctx, r.cluster.cfg, o)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		if report.Equal {
			return nil
		}
		found, by := "finds", report.Lines
		if o.Repair {
			found = "cannot repair"
		}
		var text strings.Builder
		for i := range by {
			if l := &by[i]; l.Missing+l.Doubled+l.Alien > 0 {
				fmt.Fprintf(&text, " %s of %s partition %d: %d missing, %d doubled, %d alien (%s);", l.Kind, l.Table, l.Partition, l.Missing, l.Doubled, l.Alien, strings.Join(l.First, ", "))
			}
		}
		r.cluster.find(Finding{What: fmt.Sprintf("after %q millrace verify %s:%s", in, found, &text), At: time.Now()})
	}
	return nil
}
