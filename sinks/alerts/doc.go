// Package alerts delivers events to people and programs.
package alerts
