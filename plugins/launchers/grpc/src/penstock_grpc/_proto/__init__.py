"""The service as agent_v1.proto defines it, and what protoc made of that."""
