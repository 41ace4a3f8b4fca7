-- Searches that the model API made on its own side, which the contract shows beside tokens.
ALTER TABLE model_calls ADD COLUMN web_searches INTEGER NOT NULL DEFAULT 0;
