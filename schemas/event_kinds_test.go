package schemas_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

// TestKindsOfEvents: what asks for retraining is of its job's kind too, and nothing else is; events of a
// window that two jobs find have ids of their own, and those of earlier releases have theirs.
func TestKindsOfEvents(t *testing.T) {
	kinds := []schemas.EventKind{schemas.EventDrift, schemas.EventAccuracy, schemas.EventRequirement, schemas.EventRetraining, schemas.EventBreak}
	of := func(kind schemas.EventKind, job schemas.Job) (out []schemas.EventKind) {
		for _, k := range kinds {
			if (&schemas.EventData{Kind: kind, Job: job}).Is(k) {
				out = append(out, k)
			}
		}
		return out
	}
	require.Equal(t, []schemas.EventKind{schemas.EventRequirement}, of(schemas.EventRequirement, schemas.JobAccuracy))
	require.Equal(t, []schemas.EventKind{schemas.EventAccuracy}, of(schemas.EventAccuracy, schemas.JobEstimate))
	require.Equal(t, []schemas.EventKind{schemas.EventAccuracy, schemas.EventRetraining}, of(schemas.EventRetraining, schemas.JobEstimate))
	require.Equal(t, []schemas.EventKind{schemas.EventDrift, schemas.EventRetraining}, of(schemas.EventRetraining, schemas.JobDrift))
	require.Equal(t, []schemas.EventKind{schemas.EventRetraining}, of(schemas.EventRetraining, schemas.JobRequirement))

	at := time.Date(2001, 2, 1, 0, 0, 0, 0, time.UTC)
	ids := map[string]bool{}
	for _, d := range []schemas.EventData{
		{Kind: schemas.EventAccuracy, Job: schemas.JobAccuracy},
		{Kind: schemas.EventAccuracy, Job: schemas.JobEstimate},
		{Kind: schemas.EventRequirement, Job: schemas.JobAccuracy},
		{Kind: schemas.EventRequirement, Job: schemas.JobRequirement},
		{Kind: schemas.EventRetraining, Job: schemas.JobDrift},
	} {
		d.Model, d.Version, d.WindowStart, d.WindowEnd = "m", "1", at, at.Add(time.Hour)
		ids[schemas.EventID(d)] = true
	}
	require.Len(t, ids, 5)
	asked := schemas.EventData{Kind: schemas.EventRetraining, Job: schemas.JobEstimate, Model: "m", Version: "1", WindowStart: at, WindowEnd: at.Add(time.Hour)}
	require.True(t, ids[schemas.EventID(asked)], "a window asks once, whichever job finds it")
}
