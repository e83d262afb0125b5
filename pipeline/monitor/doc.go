// Package monitor judges closed windows, publishes events, writes reports, and delivers the events
// to the alert subscriptions.
package monitor
