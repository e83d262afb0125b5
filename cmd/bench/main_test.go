package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExitCodes(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"help":               {[]string{"--help"}, 0, "-quick"},
		"an unknown flag":    {[]string{"--fast"}, 2, "-fast"},
		"an argument":        {[]string{"fast"}, 2, `unknown argument "fast"`},
		"an unknown case":    {[]string{"--only", "json_forest"}, 2, "--only json_forest"},
		"an unknown broker":  {[]string{"--only", "json_mlp_exactly_once", "--kafka", "imaginary"}, 2, `--kafka "imaginary"`},
		"an unknown part":    {[]string{"bench-child", "forest"}, 2, `no part "forest"`},
		"a part without job": {[]string{"bench-child", "load"}, 2, "read the specification"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			require.Equal(t, tc.code, run(t.Context(), tc.args, strings.NewReader(""), &stdout, &stderr))
			require.Contains(t, stderr.String(), tc.says)
			require.Empty(t, stdout.String())
		})
	}
}
