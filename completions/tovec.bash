# Completions of tovec for bash, made from the command tree by tools/completions.py.

_tovec() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local command= option= options= words= kind=free ended= i
    COMPREPLY=()

    # Bash cuts --option=value into three words.
    if [[ $word == "=" ]]; then
        option=$before word=
    elif [[ $before == "=" ]]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $before == -* ]]; then
        option=$before
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --) ended=1 ;;
            --color | --config | --log-format)
                [[ -n $command || ${COMP_WORDS[i + 1]} == "=" ]] || ((i++)) ;;
            -* | =) ;;
            *) [[ -n $command || ${COMP_WORDS[i - 1]} == "=" ]] || command=${COMP_WORDS[i]} ;;
        esac
    done

    case $command in
        "")
            kind=words words='embed batch similarity models serve config completion'
            options='--version -v --verbose -q --quiet --color --config --log-format -h --help'
            ;;
        embed)
            kind=free
            options='-f --file -p --provider -m --model --base-url --url -d --dimensions --encoding-format --user --prompt --extra --timeout --max-retries --give-up-after --concurrency --rpm --tpm --input-format -0 --null --text-field --template --id-field --encoding --encoding-errors --glob --csv-types --delimiter --no-header --csv-quoting --long --chunk-tokens --overlap -o --output --format --dtype --also --parquet-list --truncate-dim --force-truncate --columns --if-exists --force -v --verbose -q --quiet --color --config --log-format -h --help'
            ;;
        batch)
            kind=files
            options='--dry-run --status --repair -p --provider -m --model --base-url --url -d --dimensions --encoding-format --user --prompt --extra --timeout --max-retries --give-up-after --concurrency --rpm --tpm --input-format -0 --null --text-field --template --id-field --encoding --encoding-errors --glob --csv-types --delimiter --no-header --csv-quoting --long --chunk-tokens --overlap -o --output --format --dtype --also --parquet-list --truncate-dim --force-truncate --columns --if-exists --force --job-dir --keep-job --max-cost --max-tokens --on-error --rejects --rows-per-file --verify --int8-scale --stats --progress -v --verbose -q --quiet --color --config --log-format -h --help'
            ;;
        similarity)
            kind=free
            options='-f --file --in --job-dir --query-template -k --rescore --like --label-each --pairs --outliers --diversity --clusters --metric --min --max --plot --force --columns --format -p --provider -m --model --base-url --url -d --dimensions --encoding-format --user --prompt --extra --timeout --max-retries --give-up-after --concurrency --rpm --tpm --input-format -0 --null --text-field --template --id-field --encoding --encoding-errors --glob --csv-types --delimiter --no-header --csv-quoting --long --chunk-tokens --overlap -v --verbose -q --quiet --color --config --log-format -h --help'
            ;;
        models)
            kind=words words='static-minilm-256 text-embedding-3-small text-embedding-3-large text-embedding-ada-002 nugen-flash-embed gemini-embedding-001 mistral-embed voyage-3.5 voyage-3.5-lite text-embedding-v4 jina-embeddings-v3 embed-v4.0 BAAI/bge-m3 nomic-embed-text mxbai-embed-large'
            options='--providers --remote --format -p --provider -m --model --base-url --url -d --dimensions --encoding-format --user --prompt --extra --timeout --max-retries --give-up-after --concurrency --rpm --tpm -v --verbose -q --quiet --color --config --log-format -h --help'
            ;;
        serve)
            kind=free
            options='-p --provider -m --model --prompt --alias --host --port --api-key-env --cors -v --verbose -q --quiet --color --config --log-format -h --help'
            ;;
        config)
            kind=words words='check'
            options='--format -p --provider -m --model --base-url --url -d --dimensions --encoding-format --user --prompt --extra --timeout --max-retries --give-up-after --concurrency --rpm --tpm --vectors -v --verbose -q --quiet --color --config --log-format -h --help'
            ;;
        completion)
            kind=words words='bash zsh fish'
            options='-v --verbose -q --quiet --color --config --log-format -h --help'
            ;;
        *) return ;;
    esac
    [[ -z $ended ]] || option=
    case "$command $option" in
        *" --color") kind=words words='auto always never' ;;
        *" --config" | *" -f" | *" --file" | *" -o" | *" --output" | *" --rejects" | *" --stats" | *" --in" | *" --plot") kind=files words='' ;;
        *" --log-format") kind=words words='text json' ;;
        *" -p" | *" --provider") kind=words words='local onnx model2vec openai aimlapi aivene nugen custom azure gemini voyage mistral dashscope siliconflow nvidia deepinfra cohere jina openrouter together fireworks github cloudflare huggingface ollama-cloud ollama vllm tei llamacpp lmstudio infinity litellm openvino' ;;
        "embed -m" | "batch -m" | "similarity -m" | "models -m" | "config -m" | "embed --model" | "batch --model" | "similarity --model" | "models --model" | "config --model") kind=words words='static-minilm-256 text-embedding-3-small text-embedding-3-large text-embedding-ada-002 nugen-flash-embed gemini-embedding-001 mistral-embed voyage-3.5 voyage-3.5-lite text-embedding-v4 jina-embeddings-v3 embed-v4.0 BAAI/bge-m3 nomic-embed-text mxbai-embed-large' ;;
        "serve -m" | "serve --model" | *" --job-dir") kind=directories words='' ;;
        *" --base-url" | *" --url" | *" -d" | *" --dimensions" | *" --user" | *" --prompt" | *" --extra" | *" --timeout" | *" --max-retries" | *" --give-up-after" | *" --concurrency" | *" --rpm" | *" --tpm" | *" --text-field" | *" --template" | *" --id-field" | *" --encoding" | *" --glob" | *" --delimiter" | *" --chunk-tokens" | *" --overlap" | *" --truncate-dim" | *" --columns" | *" --max-cost" | *" --max-tokens" | *" --rows-per-file" | *" --verify" | *" --query-template" | *" -k" | *" --rescore" | *" --like" | *" --clusters" | *" --min" | *" --max" | *" --alias" | *" --host" | *" --port" | *" --cors") kind=free words='' ;;
        *" --encoding-format") kind=words words='base64 float' ;;
        *" --input-format") kind=words words='auto lines text jsonl json csv tsv parquet arrow tokens' ;;
        *" --encoding-errors") kind=words words='strict replace' ;;
        *" --csv-types") kind=words words='auto text' ;;
        *" --csv-quoting") kind=words words='quotes backslash' ;;
        *" --long") kind=words words='error truncate split mean' ;;
        "embed --format" | "batch --format") kind=words words='jsonl parquet npy' ;;
        "similarity --format") kind=words words='table json jsonl tsv' ;;
        "models --format" | "config --format") kind=words words='table json tsv' ;;
        *" --dtype") kind=words words='float32 float16 int8 uint8 binary ubinary' ;;
        *" --also") kind=words words='binary ubinary' ;;
        *" --parquet-list") kind=words words='fixed plain' ;;
        *" --if-exists") kind=words words='error skip replace' ;;
        *" --on-error") kind=words words='reject stop' ;;
        *" --int8-scale") kind=words words='unit dimension' ;;
        *" --progress") kind=words words='auto bar lines none' ;;
        *" --metric") kind=words words='cosine dot euclidean' ;;
        *" --api-key-env") kind=variables words='' ;;
        *) [[ $word != -* || -n $ended ]] || kind=words words=$options ;;
    esac

    case $kind in
        # Nothing said: bash's own completion of file names follows (-o default).
        files) return ;;
        directories) compopt -o dirnames 2>/dev/null ;;
        variables) COMPREPLY=($(compgen -e -- "$word")) ;;
        words) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    esac
    compopt +o default 2>/dev/null
}
complete -o default -F _tovec tovec
