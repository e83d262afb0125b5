// Package web serves the admin port: metrics, health, readiness and, where it is wanted, profiles.
package web
