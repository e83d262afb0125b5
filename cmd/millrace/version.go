package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/millrace/millrace/deploy/native"
)

// versionModules are the modules whose versions decide what millrace does with data.
var versionModules = []string{
	"github.com/twmb/franz-go", "github.com/twmb/franz-go/pkg/kfake", "github.com/apache/arrow/go/v15", "github.com/ClickHouse/clickhouse-go/v2",
	"github.com/parquet-go/parquet-go", "gonum.org/v1/gonum", "github.com/yalue/onnxruntime_go",
}

// version tells what this binary is made of: the Go tools write into it which module, commit and
// libraries they built, however that was done; a build of a folder that is no repository has no commit.
func version() string {
	info, _ := debug.ReadBuildInfo() // always there in a binary built with modules
	if info == nil {
		info = &debug.BuildInfo{}
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit := settings["vcs.revision"]
	if commit == "" {
		commit = "unknown"
	}
	if settings["vcs.modified"] == "true" {
		commit += ", with changes"
	}
	if at := settings["vcs.time"]; at != "" {
		commit += ", of " + at
	}
	release := info.Main.Version
	if release == "" {
		release = "(devel)"
	}
	var b strings.Builder
	line := func(name, version string) { fmt.Fprintf(&b, "%-40s %s\n", name, version) }
	line("millrace", release)
	line("commit", commit)
	line("go", fmt.Sprintf("%s %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH))
	modules := map[string]string{}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = &debug.Module{Path: m.Path, Version: fmt.Sprintf("%s, replaced by %s %s", m.Version, m.Replace.Path, m.Replace.Version)}
		}
		modules[m.Path] = m.Version
	}
	for _, path := range versionModules {
		if v := modules[path]; v != "" {
			line(path, v)
		}
	}
	for _, l := range []native.Library{native.ONNXRuntime, native.ClickHouse} {
		line(l.File, l.Version()+", as pinned")
	}
	return b.String()
}
