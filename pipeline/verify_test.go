package pipeline_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/verify"
)

// verify verifies, and returns every difference beside the report.
func (h *harness) verify(repair bool) (*verify.Report, []verify.Difference) {
	h.Helper()
	var all []verify.Difference
	o := pipeline.VerifyOptions{Repair: repair, Logger: h.log}
	o.Each = func(d verify.Difference) { all = append(all, d) }
	report, err := pipeline.Verify(h.Context(), h.cfg, o)
	require.NoError(h, err)
	return report, all
}

func (h *harness) requireEqual() {
	h.Helper()
	report, all := h.verify(false)
	var text bytes.Buffer
	require.NoError(h, report.WriteTable(&text))
	require.Empty(h, all, text.String())
	require.True(h, report.Equal, text.String())
}

func TestVerifyFindsEverythingEqual(t *testing.T) {
	h := newHarness(t, []model{fares})
	tr := newTraffic(h, seeded(t), 1000)
	h.start("worker,recorder")
	tr.sendHour()
	tr.requireOnce()
	h.requireEqual()
	report, _ := h.verify(false)
	var text bytes.Buffer
	require.NoError(t, report.WriteTable(&text))
	t.Log(text.String())
}
