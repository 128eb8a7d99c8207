# Completions of tovec for fish, made from the command tree by tools/completions.py.

function __tovec_is --description 'Whether the command line names this command of tovec'
    set -l value 0
    for word in (commandline -opc)[2..]
        if test $value = 1
            set value 0
            continue
        end
        switch $word
            case --color --config --log-format
                set value 1
            case '-*'
            case '*'
                test "$word" = "$argv[1]"
                return
        end
    end
    test -z "$argv[1]"
end

complete -c tovec -f
complete -c tovec -n '__tovec_is ""' -a embed -d 'Turn texts into vectors'
complete -c tovec -n '__tovec_is ""' -a models -d 'List models with their dimensions'
complete -c tovec -n '__tovec_is ""' -a serve -d 'Serve the embedded model behind the API of the others'
complete -c tovec -n '__tovec_is ""' -a config -d 'Show every setting in force and where it came from'
complete -c tovec -n '__tovec_is ""' -a completion -d 'Print the completion file of a shell'
complete -c tovec -l version -d 'Show the version.'
complete -c tovec -s v -l verbose -d 'Say more; twice for the wire, without key and text.'
complete -c tovec -s q -l quiet -d 'Say nothing but errors.'
complete -c tovec -l color -x -a 'auto always never' -d 'Colour on a terminal (NO_COLOR is honoured).'
complete -c tovec -l config -r -F -d 'Read settings from FILE instead of the usual place.'
complete -c tovec -l log-format -x -a 'text json' -d 'How messages are written to stderr.'
complete -c tovec -s h -d 'Show this command on one screen.'
complete -c tovec -l help -d 'Show every option with what it does.'
complete -c tovec -n '__tovec_is embed' -s f -l file -r -F -d 'Read rows from PATH (- is stdin); may be repeated.'
complete -c tovec -n '__tovec_is embed' -s p -l provider -x -a 'local openai aimlapi aivene nugen custom azure gemini voyage mistral dashscope siliconflow nvidia deepinfra cohere jina openrouter together fireworks github cloudflare huggingface ollama-cloud ollama vllm tei llamacpp lmstudio infinity litellm openvino' -d 'Who is asked: openai, aimlapi, aivene, nugen, local, ...'
complete -c tovec -n '__tovec_is embed' -s m -l model -x -a 'static-minilm-256 text-embedding-3-small text-embedding-3-large text-embedding-ada-002 nugen-flash-embed gemini-embedding-001 mistral-embed voyage-3.5 voyage-3.5-lite text-embedding-v4 jina-embeddings-v3 embed-v4.0 BAAI/bge-m3 nomic-embed-text mxbai-embed-large' -d 'The model; each provider has a default where one is sensible.'
complete -c tovec -n '__tovec_is embed' -l base-url -x -d 'An OpenAI-compatible server; /embeddings is added.'
complete -c tovec -n '__tovec_is embed' -l url -x -d 'The whole address that requests are posted to.'
complete -c tovec -n '__tovec_is embed' -s d -l dimensions -x -d 'Ask for vectors of N dimensions.'
complete -c tovec -n '__tovec_is embed' -l encoding-format -x -a 'base64 float' -d 'How vectors travel; found out by itself.'
complete -c tovec -n '__tovec_is embed' -l user -x -d 'An identifier of the end user, passed on to the endpoint.'
complete -c tovec -n '__tovec_is embed' -l extra -x -d 'A further field of the request, such as input_type=passage.'
complete -c tovec -n '__tovec_is embed' -l timeout -x -d 'How long one attempt may take.'
complete -c tovec -n '__tovec_is embed' -l max-retries -x -d 'How often one request is tried again.'
complete -c tovec -n '__tovec_is embed' -l concurrency -x -d 'Requests under way at once, at most.'
complete -c tovec -n '__tovec_is embed' -l rpm -x -d 'Requests a minute, at most.'
complete -c tovec -n '__tovec_is embed' -l tpm -x -d 'Tokens a minute, at most.'
complete -c tovec -n '__tovec_is embed' -l input-format -x -a 'auto lines jsonl' -d 'lines or jsonl; by default by the file\'s extension, else lines.'
complete -c tovec -n '__tovec_is embed' -s 0 -l null -d 'Texts are separated by NUL, not by lines.'
complete -c tovec -n '__tovec_is embed' -l text-field -x -d 'The field that is embedded (text); several are joined by lines.'
complete -c tovec -n '__tovec_is embed' -l template -x -d 'How fields are joined: "{title}\\n{body}".'
complete -c tovec -n '__tovec_is embed' -l id-field -x -d 'The field that names a row.'
complete -c tovec -n '__tovec_is embed' -l encoding -x -d 'The input\'s character encoding (utf-8).'
complete -c tovec -n '__tovec_is embed' -l encoding-errors -x -a 'strict replace' -d 'What to do with bytes that are not in the encoding.'
complete -c tovec -n '__tovec_is embed' -s o -l output -r -F -d 'Write to PATH (- is stdout); it appears whole or not at all.'
complete -c tovec -n '__tovec_is embed' -l format -x -a 'jsonl parquet npy' -d 'By default by PATH\'s extension; jsonl on stdout.'
complete -c tovec -n '__tovec_is embed' -l dtype -x -a 'float32 float16' -d 'The type of the stored numbers (float32).'
complete -c tovec -n '__tovec_is embed' -l columns -x -d 'The input\'s columns to keep, in this order; all by default.'
complete -c tovec -n '__tovec_is embed' -l force -d 'Replace an output that exists.'
complete -c tovec -n '__tovec_is models' -l providers -d 'List providers, their key variable and whether it is set.'
complete -c tovec -n '__tovec_is models' -l remote -d 'Add what the endpoint\'s own list of models says.'
complete -c tovec -n '__tovec_is models' -l format -x -a 'table json tsv' -d 'How to show it.'
complete -c tovec -n '__tovec_is models' -s p -l provider -x -a 'local openai aimlapi aivene nugen custom azure gemini voyage mistral dashscope siliconflow nvidia deepinfra cohere jina openrouter together fireworks github cloudflare huggingface ollama-cloud ollama vllm tei llamacpp lmstudio infinity litellm openvino' -d 'Who is asked: openai, aimlapi, aivene, nugen, local, ...'
complete -c tovec -n '__tovec_is models' -s m -l model -x -a 'static-minilm-256 text-embedding-3-small text-embedding-3-large text-embedding-ada-002 nugen-flash-embed gemini-embedding-001 mistral-embed voyage-3.5 voyage-3.5-lite text-embedding-v4 jina-embeddings-v3 embed-v4.0 BAAI/bge-m3 nomic-embed-text mxbai-embed-large' -d 'The model; each provider has a default where one is sensible.'
complete -c tovec -n '__tovec_is models' -l base-url -x -d 'An OpenAI-compatible server; /embeddings is added.'
complete -c tovec -n '__tovec_is models' -l url -x -d 'The whole address that requests are posted to.'
complete -c tovec -n '__tovec_is models' -s d -l dimensions -x -d 'Ask for vectors of N dimensions.'
complete -c tovec -n '__tovec_is models' -l encoding-format -x -a 'base64 float' -d 'How vectors travel; found out by itself.'
complete -c tovec -n '__tovec_is models' -l user -x -d 'An identifier of the end user, passed on to the endpoint.'
complete -c tovec -n '__tovec_is models' -l extra -x -d 'A further field of the request, such as input_type=passage.'
complete -c tovec -n '__tovec_is models' -l timeout -x -d 'How long one attempt may take.'
complete -c tovec -n '__tovec_is models' -l max-retries -x -d 'How often one request is tried again.'
complete -c tovec -n '__tovec_is models' -l concurrency -x -d 'Requests under way at once, at most.'
complete -c tovec -n '__tovec_is models' -l rpm -x -d 'Requests a minute, at most.'
complete -c tovec -n '__tovec_is models' -l tpm -x -d 'Tokens a minute, at most.'
complete -c tovec -n '__tovec_is models' -a 'static-minilm-256 text-embedding-3-small text-embedding-3-large text-embedding-ada-002 nugen-flash-embed gemini-embedding-001 mistral-embed voyage-3.5 voyage-3.5-lite text-embedding-v4 jina-embeddings-v3 embed-v4.0 BAAI/bge-m3 nomic-embed-text mxbai-embed-large'
complete -c tovec -n '__tovec_is serve' -l host -x -d 'Where to listen.'
complete -c tovec -n '__tovec_is serve' -l port -x -d '0 takes any free port.'
complete -c tovec -n '__tovec_is serve' -l api-key-env -x -a '(set --names --export)' -d 'Answer only requests that bring the key in this environment variable.'
complete -c tovec -n '__tovec_is config' -l format -x -a 'table json tsv' -d 'How settings are shown.'
complete -c tovec -n '__tovec_is config' -s p -l provider -x -a 'local openai aimlapi aivene nugen custom azure gemini voyage mistral dashscope siliconflow nvidia deepinfra cohere jina openrouter together fireworks github cloudflare huggingface ollama-cloud ollama vllm tei llamacpp lmstudio infinity litellm openvino' -d 'Who is asked: openai, aimlapi, aivene, nugen, local, ...'
complete -c tovec -n '__tovec_is config' -s m -l model -x -a 'static-minilm-256 text-embedding-3-small text-embedding-3-large text-embedding-ada-002 nugen-flash-embed gemini-embedding-001 mistral-embed voyage-3.5 voyage-3.5-lite text-embedding-v4 jina-embeddings-v3 embed-v4.0 BAAI/bge-m3 nomic-embed-text mxbai-embed-large' -d 'The model; each provider has a default where one is sensible.'
complete -c tovec -n '__tovec_is config' -l base-url -x -d 'An OpenAI-compatible server; /embeddings is added.'
complete -c tovec -n '__tovec_is config' -l url -x -d 'The whole address that requests are posted to.'
complete -c tovec -n '__tovec_is config' -s d -l dimensions -x -d 'Ask for vectors of N dimensions.'
complete -c tovec -n '__tovec_is config' -l encoding-format -x -a 'base64 float' -d 'How vectors travel; found out by itself.'
complete -c tovec -n '__tovec_is config' -l user -x -d 'An identifier of the end user, passed on to the endpoint.'
complete -c tovec -n '__tovec_is config' -l extra -x -d 'A further field of the request, such as input_type=passage.'
complete -c tovec -n '__tovec_is config' -l timeout -x -d 'How long one attempt may take.'
complete -c tovec -n '__tovec_is config' -l max-retries -x -d 'How often one request is tried again.'
complete -c tovec -n '__tovec_is config' -l concurrency -x -d 'Requests under way at once, at most.'
complete -c tovec -n '__tovec_is config' -l rpm -x -d 'Requests a minute, at most.'
complete -c tovec -n '__tovec_is config' -l tpm -x -d 'Tokens a minute, at most.'
complete -c tovec -n '__tovec_is config' -a 'check'
complete -c tovec -n '__tovec_is completion' -a 'bash zsh fish'
