// Package demo replays real flights against embedded services, with every role in this process, and
// compares what comes out with what went in.
package demo
