// Package pipeline wires the parts of millrace into its three roles and runs them.
//
// A worker answers requests: consumers.Lane polls, a laneHandler decodes, scores and
// encodes, and by default one Kafka transaction carries results, observations, dead letters
// and offsets. A recorder moves what workers and producers wrote into ClickHouse. A monitor
// judges closed windows and publishes events, and delivers them to alert subscriptions.
package pipeline
