package bench

import (
	"os"
	"strings"
	"testing"

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
