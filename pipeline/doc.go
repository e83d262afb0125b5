// Package pipeline runs a millrace process: some or all of the three roles, from their start to the
// end of what they have in hand.
//
// A worker answers requests (package worker). A recorder moves what workers and producers wrote into
// ClickHouse (package recorder). A monitor judges closed windows and publishes events, and delivers
// them to alert subscriptions (package monitor). The App gives each what it needs (package role). What
// commands call is in package operate.
package pipeline
