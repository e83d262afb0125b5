package main

import (
	"os/exec"
	"regexp"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersion(t *testing.T) {
	code, stdout, stderr := millrace(t, "--version")
	require.Zero(t, code, stderr)
	require.Equal(t, version(), stdout)
	require.Regexp(t, regexp.MustCompile(`(?m)^millrace +\S+$`), stdout)
	require.Regexp(t, regexp.MustCompile(`(?m)^commit +\S+`), stdout)
	require.Regexp(t, regexp.MustCompile(`(?m)^go +go1\.\S+ \w+/\w+$`), stdout)
	require.Regexp(t, regexp.MustCompile(`(?m)^libonnxruntime\.so\.1 +\d+\.\d+\.\d+, as pinned$`), stdout)
	require.Regexp(t, regexp.MustCompile(`(?m)^libchdb\.so +\d+\.\d+\.\d+, as pinned$`), stdout)
}

// What the Go tools write into a binary, as `go version -m` shows it, is told.
func TestVersionOfABuild(t *testing.T) {
	info := &debug.BuildInfo{
		Main: debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.modified", Value: "true"}, {Key: "vcs.time", Value: "2026-11-30T12:00:00Z"},
		},
	}
	for _, path := range versionModules {
		info.Deps = append(info.Deps, &debug.Module{Path: path, Version: "v0.0.7"})
	}
	info.Deps[0].Replace = &debug.Module{Path: "example.org/fork", Version: "v0.0.8"}
	got := versionOf(info)
	for _, line := range []string{`millrace +v1\.2\.3`, `commit +0123abc, with changes, of 2026-11-30T12:00:00Z`, `gonum\.org/v1/gonum +v0\.0\.7`, `github\.com/twmb/franz-go +v0\.0\.7, replaced by example\.org/fork v0\.0\.8`} {
		require.Regexp(t, regexp.MustCompile(`(?m)^`+line+`$`), got)
	}
	require.Regexp(t, regexp.MustCompile(`(?m)^millrace +\(devel\)\ncommit +unknown$`), versionOf(&debug.BuildInfo{}))
}

// Each module that --version is to tell of is one that the binary has.
func TestVersionModulesAreRequired(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list", "-m", "-f", "{{.Path}}"}, versionModules...)...).Output()
	require.NoError(t, err)
	require.Len(t, regexp.MustCompile(`\n`).FindAllString(string(out), -1), len(versionModules))
}
