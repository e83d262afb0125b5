package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if isChild, code := RunChild(os.Args[1:], os.Stdin, os.Stdout, os.Stderr); isChild {
		os.Exit(code)
	}
	if len(os.Args) == 2 && os.Args[1] == orphanMaker {
		os.Exit(makeOrphan())
	}
	// Children that are built with the race detector would wait a second at their end.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

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
			require.Equal(t, tc.code, execute(t.Context(), tc.args, strings.NewReader(""), &stdout, &stderr))
			require.Contains(t, stderr.String(), tc.says)
			require.Empty(t, stdout.String())
		})
	}
}
