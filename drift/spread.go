package drift

import (
	"time"

	"github.com/millrace/millrace/drift/profile"
)

// Spread returns the version by each of the windows that it is judged by (monitoring.window and
// monitoring.windows), the first ones first. What takes a Version judges the windows that its
// manifest is about: Monitoring.Window, with Manifest.WindowKind and Monitoring.Step.
func (v Version) Spread() []Version {
	manifests := v.Manifest.Spread()
	out := make([]Version, len(manifests))
	for i, m := range manifests {
		out[i] = Version{Manifest: m, Reference: v.Reference}
	}
	return out
}

// Name is "<model>/<version>", and by which windows, unless it is by the first ones.
func (v Version) Name() string {
	name := v.Manifest.Name + "/" + v.Manifest.Version
	if kind := v.Manifest.WindowKind(); kind != "" {
		name += " (windows " + kind + ")"
	}
	return name
}

// length is that of the version's windows, step the time between the starts of two.
func (v Version) length() time.Duration { return v.Manifest.Monitoring.Window.Std() }
func (v Version) step() time.Duration   { return v.Manifest.Monitoring.Step() }

// closedBy is the start of the first window that ends after at.
func (v Version) closedBy(at time.Time) time.Time {
	return profile.WindowStart(at.Add(v.step()-v.length()), v.step())
}
