// Package jobs lets one process at a time do the work of a model: judge its windows, write what was
// found, publish events. Monitors share models by the partitions of a topic, and a command takes
// one model's partition for as long as it needs. A former owner that was frozen writes nothing.
package jobs
