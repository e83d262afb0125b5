// Package kafka writes what does not belong to a lane's transaction (events, feedback,
// replays) and shapes the messages that do: results, observations and dead letters.
package kafka
