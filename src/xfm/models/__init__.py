"""The model: three encoders, their heads, and the policy that says where gradients go."""
